"""
Simulation of the batcher with random orders of callbacks, determined by a seed.

README.md says what is simulated, and how to replay a seed. With NIGHTLY=1 in the environment 10,000
seeds are run instead of 500.

If these tests fail: under load or at a shutdown events are acknowledged but not stored, or their
requests are never answered.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import pytest
import structlog

from service.pipeline.batcher import Batcher
from service.reasons import Reason
from tests.simulation.judge import Beside, Violation
from tests.simulation.planted import BUGS
from tests.simulation.simulation import Simulation

SEEDS: Final = 10_000 if os.environ.get("NIGHTLY") == "1" else 500
SEEDS_FOR_A_BUG: Final = 100
BLOCK: Final = 125


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def test_no_seed_violates_a_rule(seed: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    if seed is not None:
        with capsys.disabled():
            print("", *replay(seed), sep="\n")
        Simulation(seed).run()
        return

    # In other processes, to use every core and without the cost of measuring coverage.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        blocks = pool.map(broken_seeds, range(0, SEEDS, BLOCK))
        broken = [each for block in blocks for each in block]

    assert not broken, "\n".join(
        [
            f"{len(broken)} of {SEEDS} seeds break a rule: {broken[:10]}",
            f"Replay one with: .venv/bin/pytest tests/simulation --seed {broken[0]}",
            *replay(broken[0]),
        ]
    )


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found_in_fewer_than_a_hundred_seeds(bug: type[Batcher]) -> None:
    first = next((n for n in range(SEEDS_FOR_A_BUG) if violation_of(Simulation(n, bug))), None)

    assert first is not None


def test_a_seed_is_the_same_every_time() -> None:
    for number in range(100):
        assert replay(number) == replay(number)


def test_the_seeds_cover_every_answer_every_start_of_a_flush_and_every_end_of_a_drain() -> None:
    reached: dict[str, set[object]] = {"answered": set(), "write began": set(), "drained": set()}
    for number in range(200):
        simulation = Simulation(number)
        simulation.run()
        for _, _, what, *details in simulation.judge.trace:
            if what in reached:
                reached[what].add(details[-1])

    assert {
        "answered": {
            "stored",
            Reason.OVERLOADED,
            Reason.STORE_UNAVAILABLE,
            Reason.OUTCOME_UNKNOWN,
        },
        "write began": set(Beside),
        "drained": {True, False},
    } == reached


def broken_seeds(first: int) -> list[int]:
    """Return the seeds of a block that violate a rule."""
    with structlog.testing.capture_logs():
        return [n for n in range(first, first + BLOCK) if violation_of(Simulation(n))]


def violation_of(simulation: Simulation) -> Violation | None:
    try:
        simulation.run()
    except Violation as violation:
        return violation
    return None


def replay(seed: int) -> list[str]:
    """Return the trace of *seed*, one line per event with its time and step."""
    simulation = Simulation(seed)
    violation_of(simulation)
    return [
        f"{time:.6f} {step:5} {what:12}" + " ".join(str(detail) for detail in details)
        for time, step, what, *details in simulation.judge.trace
    ]
