"""How two ways of doing something compare, on a machine that does other things as well."""

import gc
import time
from collections.abc import Callable
from typing import Any, Final

Call = Callable[[], Any]

ROUNDS: Final = 30
_ROUND_S: Final = 0.004


def speedup(measured: Call, reference: Call) -> float:
    """
    Return how many times faster *measured* is than *reference*.

    The two take turns, so that a slow moment of the machine meets both, and of each the best round
    counts, which is the one that nobody disturbed.
    """
    counts = {call: calls_in_a_round(call) for call in (measured, reference)}
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


def calls_in_a_round(call: Call) -> int:
    """Return how often to call it so that the clock can tell."""
    count = 1
    while _time_s(call, count) * count < _ROUND_S:
        count *= 2
    return count


def _time_s(call: Call, count: int) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
