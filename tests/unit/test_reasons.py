"""
Reasons: a closed set, each with an answer.

If these tests fail: senders get wrong status codes, so that SDKs drop or repeat events.
"""

import pytest

from service import _native
from service.reasons import CONFLICT_MESSAGES, ERROR_RESPONSES, Reason, RefusedError


def test_every_code_of_the_core_is_a_reason() -> None:
    assert set(_native.violation_codes()) <= set(Reason)


def test_every_reason_is_a_fault_a_conflict_or_of_one_event() -> None:
    of_one_event = set(_native.violation_codes()) | {
        Reason.INVALID_TIMESTAMP,
        Reason.STORE_REFUSED,
        Reason.INVALID_EVENT,
    }

    assert set(Reason) == set(ERROR_RESPONSES) | set(CONFLICT_MESSAGES) | of_one_event
    assert not set(ERROR_RESPONSES) & set(CONFLICT_MESSAGES)


@pytest.mark.parametrize("reason", ERROR_RESPONSES)
def test_a_fault_says_what_it_is_in_a_sentence(reason: Reason) -> None:
    fault = ERROR_RESPONSES[reason]

    assert 400 <= fault.status < 600
    assert fault.message[0].isupper()
    assert fault.message.endswith(".")


@pytest.mark.parametrize("reason", ERROR_RESPONSES)
def test_every_temporary_refusal_has_a_retry_after(reason: Reason) -> None:
    fault = ERROR_RESPONSES[reason]

    assert (fault.status in {429, 503}) is (fault.retry_after_s is not None)


def test_no_reason_has_status_408() -> None:
    """Three SDKs drop a batch for it."""
    assert 408 not in {fault.status for fault in ERROR_RESPONSES.values()}


def test_a_refusal_has_the_message_of_its_reason_unless_given_another() -> None:
    plain = RefusedError(Reason.OVERLOADED)
    special = RefusedError(Reason.BATCH_EMPTY, "Nothing in it.", limit=50)

    assert (ERROR_RESPONSES[Reason.OVERLOADED].message, {}) == (plain.message, plain.details)
    assert ("Nothing in it.", {"limit": 50}) == (str(special), special.details)
