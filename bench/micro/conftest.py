"""Fixtures of the micro benchmarks: request bodies, the check of the service, and the gate."""

import gc
import itertools
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.events import EventMaker, compact_json
from service.clock import SystemClock
from service.pipeline.check import Arrival, Checked, Checker, random_row_ids, scan
from service.pipeline.quarantine import QuarantineBudget, QuarantineLimits

ROUNDS: Final = 30
CLOCK_SKEW_MIN_US: Final = 30 * 86_400 * 1_000_000
_ROUND_S: Final = 0.004
_EVENTS_MAX: Final = 10_000

Call = Callable[[], Any]
Check = Callable[[bytes], Checked]
Gate = Callable[[Call, Call, float], None]

_RESULTS: Final = pytest.StashKey[list[str]]()


def make_body(events: int, seed: int = 1) -> bytes:
    """Return the body of a batch request of events of about 560 bytes."""
    return compact_json(EventMaker(seed).batch(events))


@pytest.fixture
def check() -> Check:
    """Return the check of a body as the service does it: scan, rules, ids, hashes, rows."""
    clock = SystemClock()
    limits = QuarantineLimits(
        rows_per_minute=1_000_000, bytes_per_minute=10**12, table_bytes_max=10**15
    )
    budget = QuarantineBudget(clock, limits, lambda _cause: None)
    checker = Checker(budget, random_row_ids(), CLOCK_SKEW_MIN_US)
    numbers = itertools.count(1)

    def check_body(body: bytes) -> Checked:
        arrival = Arrival(
            tenant_id=1,
            workspace_id=1,
            key_id="key",
            request_id=next(numbers),
            schema_version="1.0",
            received_at_us=clock.unix_us(),
        )
        return checker.check(scan(body, None, _EVENTS_MAX), arrival)

    return check_body


@pytest.fixture
def gate(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Gate:
    """
    Require that a call is at least so many times as fast as a reference beside it.

    Absolute times, in the table of pytest-benchmark, have no limit: machines differ.
    """

    def require(measured: Call, reference: Call, at_least: float) -> None:
        iterations = _calls_in_a_round(measured)
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            measured, rounds=ROUNDS, iterations=iterations
        )
        found = _speedup(measured, reference)
        benchmark.extra_info |= {"speedup": found, "at_least": at_least}
        line = f"{request.node.name}: {found:.3g} times as fast (at least {at_least:g})"
        request.config.stash.setdefault(_RESULTS, []).append(line)
        assert found >= at_least, line

    return require


def _speedup(measured: Call, reference: Call) -> float:
    """
    Return how many times faster *measured* is than *reference*.

    They take turns, so that a busy moment of the machine affects both; of each the best round
    counts, which no other program has disturbed.
    """
    counts = {call: _calls_in_a_round(call) for call in (measured, reference)}
    best = dict.fromkeys(counts, float("inf"))
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for call, count in counts.items():
                best[call] = min(best[call], _time_s(call, count))
    finally:
        if was_enabled:
            gc.enable()
    return best[reference] / best[measured]


def _calls_in_a_round(call: Call) -> int:
    """Return how many calls take long enough to be measured."""
    count = 1
    while _time_s(call, count) * count < _ROUND_S:
        count *= 2
    return count


def _time_s(call: Call, count: int) -> float:
    """Return the time of one call in seconds, as the mean of *count* calls."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """List the results of all gates."""
    if lines := config.stash.get(_RESULTS, []):
        terminalreporter.section("gates")
        for line in lines:
            terminalreporter.write_line(line)
