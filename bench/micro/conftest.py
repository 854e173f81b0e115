"""What the micro benchmarks share: bodies, and the gate that each has to pass."""

import json
from collections.abc import Callable
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.events import EventMaker
from bench.micro.race import ROUNDS, Call, calls_in_a_round, speedup

SEED: Final = 1

Gate = Callable[[Call, Call, float], None]

_FOUND: Final = pytest.StashKey[list[str]]()


@pytest.fixture(params=[1, 50], ids=["1 event", "50 events"])
def events(request: pytest.FixtureRequest) -> int:
    """How many events a body holds."""
    return int(request.param)


@pytest.fixture
def body(events: int) -> bytes:
    """Return a batch request of events of about 560 bytes."""
    batch = EventMaker(SEED).batch(events)
    return json.dumps(batch, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def gate(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Gate:
    """
    Fail when something is not so many times as fast as a reference beside it, or slower than that.

    Absolute times go into the table of pytest-benchmark; they are no gate, as machines differ.
    """

    def check(measured: Call, reference: Call, at_least: float) -> None:
        iterations = calls_in_a_round(measured)
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            measured, rounds=ROUNDS, iterations=iterations
        )
        found = speedup(measured, reference)
        benchmark.extra_info |= {"speedup": found, "at_least": at_least}
        line = f"{request.node.name}: {found:.3g} times as fast (at least {at_least:g})"
        request.config.stash.setdefault(_FOUND, []).append(line)
        assert found >= at_least, line

    return check


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """List what the gates found, also where they held."""
    if lines := config.stash.get(_FOUND, []):
        terminalreporter.section("gates")
        for line in lines:
            terminalreporter.write_line(line)
