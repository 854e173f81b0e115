"""
Answers: status, headers and body of each.

If these tests fail: SDKs cannot read the answers, and lose events or send them forever.
"""

import json
from typing import Any

import pytest

from service.edge import replies
from service.edge.replies import Reply
from service.model import AcceptedVerdicts, Outcome, Verdict
from service.pipeline.ingest import Counts, count
from service.reasons import ERROR_RESPONSES, Reason, RefusedError
from tests.doubles import Sender, make_event

REQUEST = "1z141z4q0k3p2"
ACCEPTED = Verdict("a1", Outcome.ACCEPTED)
DUPLICATE = Verdict("a2", Outcome.DUPLICATE)
CONFLICT = Verdict("a3", Outcome.CONFLICT, Reason.CONTENT_DIFFERS, "event_id", "It differs.")
REJECTED = Verdict(None, Outcome.REJECTED, Reason.INVALID_TIMESTAMP, "timestamp", "It is none.")
ALL = [ACCEPTED, DUPLICATE, CONFLICT, REJECTED]


def content(reply: Reply) -> Any:
    return json.loads(reply.body)


def test_outcomes_are_counted() -> None:
    assert Counts(1, 1, 1, 1) == count(ALL)
    assert Counts(2, 0, 0, 0) == count([ACCEPTED, ACCEPTED])


def test_a_batch_is_answered_event_by_event_in_order() -> None:
    reply = replies.batch_processed(REQUEST, count(ALL), ALL)

    assert 200 == reply.status
    assert content(reply) == {
        "success": True,
        "request_id": REQUEST,
        "accepted": 1,
        "duplicates": 1,
        "conflicts": 1,
        "rejected": 1,
        "results": [
            {"event_id": "a1", "status": "accepted"},
            {"event_id": "a2", "status": "duplicate"},
            {
                "event_id": "a3",
                "status": "conflict",
                "code": "content_differs",
                "field": "event_id",
                "message": "It differs.",
            },
            {
                "event_id": None,
                "status": "rejected",
                "code": "invalid_timestamp",
                "field": "timestamp",
                "message": "It is none.",
            },
        ],
    }


@pytest.mark.parametrize("event_id", ["a1", 'quote " and \\', "é 😀", "a/b", "\u2028", None])
def test_what_is_put_together_from_bytes_is_what_an_encoder_writes(event_id: str | None) -> None:
    verdicts = AcceptedVerdicts(Sender().rows(make_event(event_id), make_event("last")))
    one = AcceptedVerdicts(Sender().rows(make_event(event_id)))

    batch, event = count(verdicts), replies.event_accepted(REQUEST, one)

    assert event == replies.event_processed(REQUEST, one[0])
    assert replies.batch_processed(REQUEST, batch, verdicts) == replies.batch_processed(
        REQUEST, count(list(verdicts)), list(verdicts)
    )


@pytest.mark.parametrize("verdict", [ACCEPTED, DUPLICATE])
def test_one_stored_event_has_a_short_answer(verdict: Verdict) -> None:
    reply = replies.event_processed(REQUEST, verdict)

    assert (200, None) == (reply.status, reply.code)
    assert content(reply) == {
        "success": True,
        "request_id": REQUEST,
        "event_id": verdict.event_id,
        "status": verdict.status,
    }


def test_one_conflicting_event_is_answered_with_its_reason() -> None:
    reply = replies.event_processed(REQUEST, CONFLICT)

    assert (200, Reason.CONTENT_DIFFERS) == (reply.status, reply.code)
    assert ("conflict", "content_differs", "It differs.") == tuple(
        content(reply)[name] for name in ("status", "code", "message")
    )


def test_one_rejected_event_is_a_400_with_the_error_on_top() -> None:
    reply = replies.event_processed(REQUEST, REJECTED)

    assert 400 == reply.status
    assert content(reply) == {
        "code": "invalid_timestamp",
        "message": "It is none.",
        "request_id": REQUEST,
        "field": "timestamp",
    }


@pytest.mark.parametrize("reason", ERROR_RESPONSES)
def test_a_fault_has_code_and_message_as_texts_on_top(reason: Reason) -> None:
    reply = replies.refused(REQUEST, RefusedError(reason))

    assert ERROR_RESPONSES[reason].status == reply.status
    assert content(reply) == {
        "code": reason,
        "message": ERROR_RESPONSES[reason].message,
        "request_id": REQUEST,
    }


@pytest.mark.parametrize(
    "reason", [r for r in ERROR_RESPONSES if ERROR_RESPONSES[r].status in {429, 503}]
)
def test_a_refusal_that_may_end_has_retry_after(reason: Reason) -> None:
    headers = dict(replies.refused(REQUEST, RefusedError(reason)).headers)

    assert int(headers[b"retry-after"]) >= 1


@pytest.mark.parametrize(
    "reason", [r for r in ERROR_RESPONSES if ERROR_RESPONSES[r].status not in {429, 503}]
)
def test_a_permanent_refusal_has_no_retry_after(reason: Reason) -> None:
    assert b"retry-after" not in dict(replies.refused(REQUEST, RefusedError(reason)).headers)


def test_a_reason_of_one_event_is_400_when_it_stands_for_the_request() -> None:
    refusal = RefusedError(Reason.INVALID_FIELD, "context is too large.", field="context", limit=9)

    reply = replies.refused(REQUEST, refusal)

    assert (400, Reason.INVALID_FIELD) == (reply.status, reply.code)
    assert ("context", 9) == (content(reply)["field"], content(reply)["limit"])


def test_details_go_into_the_body_and_allow_into_its_header() -> None:
    refusal = RefusedError(Reason.METHOD_NOT_ALLOWED, "Not here.", allow="POST, OPTIONS")

    reply = replies.refused(REQUEST, refusal)

    assert (405, b"POST, OPTIONS") == (reply.status, dict(reply.headers)[b"allow"])
    assert "allow" not in content(reply)


def test_a_401_carries_its_challenge() -> None:
    headers = dict(replies.refused(REQUEST, RefusedError(Reason.UNAUTHORIZED)).headers)

    assert b'Bearer realm="forebay"' == headers[b"www-authenticate"]


def test_every_answer_is_json() -> None:
    answers = [
        replies.batch_processed(REQUEST, count(ALL), ALL),
        replies.event_processed(REQUEST, ACCEPTED),
        replies.event_processed(REQUEST, REJECTED),
        replies.refused(REQUEST, RefusedError(Reason.OVERLOADED)),
        replies.report(200, {"status": "alive"}),
    ]

    assert all(dict(reply.headers)[b"content-type"] == b"application/json" for reply in answers)
