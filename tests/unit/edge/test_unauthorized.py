"""
The pace of answers 401.

If these tests fail: a flood of made-up keys takes the processor from honest senders, or honest
senders wait for their answers.
"""

from service.edge.unauthorized import UnauthorizedLimits, UnauthorizedPace
from tests.doubles import FixedClock
from tests.unit.edge.client import EdgeBench

LIMITS = UnauthorizedLimits(per_second=10, delay_max_s=0.55)


def delays(pace: UnauthorizedPace, answers: int) -> list[float]:
    return [round(pace.next_delay_s(), 3) for _ in range(answers)]


def test_a_second_of_answers_leaves_at_once_and_further_ones_one_after_the_other() -> None:
    clock = FixedClock()
    pace = UnauthorizedPace(LIMITS, clock, lambda: None)

    assert [0.0] * 10 == delays(pace, 10)
    assert [0.1, 0.2, 0.3, 0.4, 0.5] == delays(pace, 5)
    assert [0.55] * 100 == delays(pace, 100)
    clock.advance(0.2)
    assert [0.4, 0.5, 0.55] == delays(pace, 3)
    clock.advance(60)
    assert [0.0] * 10 == delays(pace, 10)
    assert [0.1] == delays(pace, 1)


def test_a_delay_of_nothing_delays_nothing() -> None:
    limits = UnauthorizedLimits(per_second=1, delay_max_s=0)

    assert [0.0] * 50 == delays(UnauthorizedPace(limits, FixedClock(), lambda: None), 50)


async def test_only_answers_to_requests_without_a_valid_key_are_delayed() -> None:
    bench = EdgeBench(unauthorized=UnauthorizedLimits(per_second=1, delay_max_s=0.01))
    event = {"event": "Signed Up", "user_id": "u1"}

    for _ in range(5):
        assert 200 == (await bench.post("/v1/track", event)).status
        assert 400 == (await bench.post("/v1/track", {})).status
    assert 0 == bench.delayed
    answers = [await bench.ask("POST", "/v1/track", b"{}") for _ in range(4)]

    assert [401] * 4 == [answer.status for answer in answers]
    assert 3 == bench.delayed


async def test_a_worker_that_stops_delays_nothing() -> None:
    bench = EdgeBench(unauthorized=UnauthorizedLimits(per_second=1, delay_max_s=10))
    bench.state.is_draining = True

    answers = [await bench.ask("POST", "/v1/track", b"{}") for _ in range(4)]

    assert [401] * 4 == [answer.status for answer in answers]
    assert 0 == bench.delayed
