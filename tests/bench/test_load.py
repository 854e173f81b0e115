"""
The requests of `make load`, the answers that it expects, and its judgement.

If these tests fail: `make load` passes although senders got wrong answers, or fails without cause.
"""

import json
from itertools import islice
from typing import Final

import pytest

from bench.load.requests import RETRIED_SHARE, RequestMix, UserRequest
from bench.load.tally import Tally, failures, summary

ONE: Final = UserRequest("/v1/track", b"{}", ("accepted",))
REFUSED: Final = UserRequest("/v1/track", b"{}", ("rejected",))
BATCH: Final = UserRequest("/v1/batch", b"{}", ("accepted", "rejected"))


def answer(*statuses: str) -> bytes:
    return json.dumps({"results": [{"status": status} for status in statuses]}).encode()


def tally_of(good: int, bad: int = 0, latency_ms: float = 5.0) -> Tally:
    tally = Tally()
    for number in range(good + bad):
        tally.count_sent(ONE)
        tally.count_answer(ONE, None if number < good else "no answer", latency_ms)
    return tally


def test_the_same_seed_sends_the_same_mix() -> None:
    first, second = (list(islice(iter(RequestMix(7).next, None), 200)) for _ in range(2))

    assert [request.path for request in first] == [request.path for request in second]
    assert {"/v1/track", "/v1/identify", "/v1/batch"} == {request.path for request in first}


def test_a_twentieth_of_the_events_are_duplicates() -> None:
    mix, sent = RequestMix(7), []
    for _ in range(4_000):
        sent.append(request := mix.next())
        mix.remember(request)

    retried = [request for request in sent if request.is_retry]
    assert RETRIED_SHARE == pytest.approx(len(retried) / len(sent), rel=0.3)
    assert {request.body for request in retried} <= {r.body for r in sent if not r.is_retry}


def test_a_batch_sent_again_keeps_its_rejected_event() -> None:
    assert ("duplicate", "rejected") == BATCH.again().expected


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (ONE, 200, b'{"status": "accepted"}'),
        (ONE.again(), 200, b'{"status": "duplicate"}'),
        (REFUSED, 400, b"{}"),
        (BATCH, 200, answer("accepted", "rejected")),
    ],
)
def test_a_correct_answer_is_no_failure(request_: UserRequest, status: int, body: bytes) -> None:
    assert request_.fault_in(status, body) is None


@pytest.mark.parametrize(
    ("request_", "status", "body", "fault"),
    [
        (ONE, 0, b"", "no answer instead of 200"),
        (ONE, 503, b"{}", "503 instead of 200"),
        (ONE, 200, b'{"status": "duplicate"}', "1 duplicate, not 1 accepted"),
        (ONE.again(), 200, b'{"status": "accepted"}', "1 accepted, not 1 duplicate"),
        (REFUSED, 200, b'{"status": "accepted"}', "200 instead of 400"),
        (BATCH, 200, answer("rejected", "accepted"), "1 accepted, 1 rejected, not 1 accepted"),
        (BATCH, 200, answer("accepted"), "1 accepted, not 1 accepted, 1 rejected"),
    ],
)
def test_any_other_answer_is_a_failure(
    request_: UserRequest, status: int, body: bytes, fault: str
) -> None:
    found = request_.fault_in(status, body)

    assert found is not None
    assert found.startswith(fault)


def test_a_run_without_a_failure_passes() -> None:
    tally = tally_of(100)
    tally.count_answer(REFUSED, None, 900.0)

    assert [] == failures(tally, stored=100)
    assert "success of the rest: 100.00% (expected 100 %, at least 95%)" in summary(tally)
    assert "refused on purpose, alone: 1 of 1" in summary(tally)


def test_a_run_passes_with_95_percent_success_and_fails_below() -> None:
    assert [] == failures(tally_of(good=95, bad=5))
    assert ["success is 94.00%, below 95%"] == failures(tally_of(good=94, bad=6))


def test_a_run_in_which_nothing_was_sent_fails() -> None:
    assert ["success is 0.00%, below 95%"] == failures(Tally())


def test_a_slow_run_fails() -> None:
    assert ["p50 is 51.0 ms, above 50 ms"] == failures(tally_of(10, latency_ms=51.0))


def test_an_invalid_event_that_was_stored_fails_the_run() -> None:
    tally = tally_of(10)
    tally.count_answer(REFUSED, "200 instead of 400", 5.0)

    assert ["only 0.00% of the invalid requests were refused"] == failures(tally)


@pytest.mark.parametrize(("stored", "passes"), [(95, False), (96, True), (100, True), (101, False)])
def test_stored_is_what_was_acknowledged_and_at_most_what_had_no_answer(
    stored: int, passes: bool
) -> None:
    assert passes == (failures(tally_of(good=96, bad=4), stored) == [])


def test_an_event_whose_answer_never_came_may_be_stored_or_not() -> None:
    tally = tally_of(good=10)
    tally.count_sent(ONE)

    assert [] == failures(tally, stored=10)
    assert [] == failures(tally, stored=11)
    assert [] != failures(tally, stored=12)
