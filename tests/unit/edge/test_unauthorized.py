"""
The pace of answers 401.

If these tests fail: a flood of made-up keys takes the processor from honest senders, or honest
senders wait for their answers.
"""

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from service.apikey import mint
from service.edge.unauthorized import UnauthorizedLimits, UnauthorizedPace
from tests.doubles import FixedClock
from tests.unit.edge.client import EdgeBench
from tests.unit.pipeline.key_rings import idle

LIMITS = UnauthorizedLimits(per_second=10, delay_max_s=0.5, delayed_max=9)


def undelayed(pace: UnauthorizedPace) -> int:
    """Return how many answers leave at once."""
    answers = 0
    while pace.next_delay_s() == 0:
        answers += 1
    return answers


def test_answers_beyond_the_rate_are_delayed() -> None:
    clock = FixedClock()
    pace = UnauthorizedPace(LIMITS, clock, lambda: None)
    # A second's worth of them after a pause, and perhaps the one that is just due.
    assert undelayed(pace) in {10, 11}

    clock.advance(0.35)
    assert undelayed(pace) in {3, 4}
    clock.advance(60)
    assert undelayed(pace) in {10, 11}


def test_the_delays_differ_so_that_senders_do_not_come_back_together() -> None:
    pace = UnauthorizedPace(LIMITS, FixedClock(), lambda: None)
    undelayed(pace)

    delays = [pace.next_delay_s() for _ in range(1_000)]

    assert 0.25 <= min(delays) < 0.3
    assert 0.45 < max(delays) <= 0.5


def test_a_delay_of_nothing_delays_nothing() -> None:
    limits = UnauthorizedLimits(per_second=1, delay_max_s=0, delayed_max=9)

    pace = UnauthorizedPace(limits, FixedClock(), lambda: None)
    assert [0.0] * 50 == [pace.next_delay_s() for _ in range(50)]


async def test_only_answers_to_requests_without_a_valid_key_are_delayed() -> None:
    bench = EdgeBench(
        unauthorized=UnauthorizedLimits(per_second=1, delay_max_s=0.01, delayed_max=9)
    )
    event = {"event": "Signed Up", "user_id": "u1"}

    for _ in range(5):
        assert 200 == (await bench.post("/v1/track", event)).status
        assert 400 == (await bench.post("/v1/track", {})).status
    assert 0 == bench.delayed
    answers = [await bench.ask("POST", "/v1/track", b"{}") for _ in range(4)]

    assert [401] * 4 == [answer.status for answer in answers]
    assert 2 == bench.delayed


async def test_the_body_of_a_delayed_request_is_released() -> None:
    bench = EdgeBench(unauthorized=UnauthorizedLimits(per_second=1, delay_max_s=10, delayed_max=9))
    # The answers without a delay.
    for _ in range(2):
        await bench.ask("POST", "/v1/track", b"{}")
    body = msgspec.json.encode({"event": "e", "user_id": "u", "writeKey": mint().text})
    alone = sys.getrefcount(body)

    message: dict[str, Any] = {"type": "http.request", "body": body, "more_body": False}
    request = asyncio.create_task(bench.ask("POST", "/v1/track", messages=[message]))
    del message
    for _ in range(9):
        await idle()

    assert 1 == bench.delayed
    assert alone == sys.getrefcount(body)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


@pytest.mark.parametrize("is_body_read", [True, False])
async def test_a_client_that_is_gone_is_not_waited_for(is_body_read: bool) -> None:
    """Otherwise requests without a client would take the place of others in the HTTP server."""
    limits = UnauthorizedLimits(per_second=1, delay_max_s=30, delayed_max=9)
    bench = EdgeBench(unauthorized=limits)
    for _ in range(2):
        await bench.ask("POST", "/v1/track", b"{}")
    body = {"type": "http.request", "body": b"{}", "more_body": not is_body_read}
    messages: list[Any] = [body, {"type": "http.disconnect"}]

    async with asyncio.timeout(5):
        answer = await bench.ask("POST", "/v1/track", messages=messages)

    assert answer.status == (401 if is_body_read else 400)
    assert [] == messages


async def test_no_more_answers_are_delayed_at_the_same_time_than_allowed() -> None:
    limits = UnauthorizedLimits(per_second=1, delay_max_s=10, delayed_max=3)
    bench = EdgeBench(unauthorized=limits)
    for _ in range(2):
        await bench.ask("POST", "/v1/track", b"{}")

    requests = [asyncio.create_task(bench.ask("POST", "/v1/track", b"{}")) for _ in range(9)]
    for _ in range(9):
        await idle()

    assert 3 == bench.delayed
    assert 6 == sum(request.done() for request in requests)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)

    again = asyncio.create_task(bench.ask("POST", "/v1/track", b"{}"))
    for _ in range(9):
        await idle()
    assert 4 == bench.delayed
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_worker_that_stops_delays_nothing() -> None:
    bench = EdgeBench(unauthorized=UnauthorizedLimits(per_second=1, delay_max_s=10, delayed_max=9))
    bench.state.is_draining = True

    answers = [await bench.ask("POST", "/v1/track", b"{}") for _ in range(4)]

    assert [401] * 4 == [answer.status for answer in answers]
    assert 0 == bench.delayed
