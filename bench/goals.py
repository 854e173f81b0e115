"""Goals and the measured values."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final, NamedTuple

from bench.figures import Samples, cpu, median, ratio, second_half_rss
from bench.scenarios import (
    BATCH_CONNECTIONS,
    BATCH_EVENTS,
    HALF,
    LEDGER_IDS,
    PEER_CONNECTIONS,
    SINGLE_CONNECTIONS,
    WORKERS,
)

HTTP_FLOOR_BOUNDS: Final = {32: 1.7, 128: 1.4}
"""By connections."""
Cells = tuple[str, ...]


class Goal(NamedTuple):
    """A goal, its limit and the measured value; None without samples."""

    name: str
    sign: str
    bound: float
    value: float | None
    digits: int

    @property
    def is_met(self) -> bool:
        """Whether the value is within the limit; false without a value."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.sign == "≥" else self.value <= self.bound


def goals(samples: Samples) -> list[Goal]:
    """Return the goals whose figures are in *samples*."""
    parts = (_batches, _singles, _latency, _long)
    return [goal for part in parts for goal in part(samples) if goal.value is not None]


def goals_table(samples: Samples) -> str:
    """Return the goals as a Markdown table; empty without any."""
    rows: list[Cells] = [
        (
            goal.name,
            f"{goal.sign} {goal.bound:g}",
            f"{goal.value:,.{goal.digits}f}",
            "yes" if goal.is_met else "**no**",
        )
        for goal in goals(samples)
    ]
    return table(("figure", "goal", "measured", "reached"), rows) if rows else ""


def table(head: Cells, rows: list[Cells]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _batches(samples: Samples) -> Iterator[Goal]:
    for workers, connections in product(WORKERS, BATCH_CONNECTIONS):
        at = {"scenario": "batches", "workers": workers, "connections": connections}
        service = median(samples, "events_per_s", side="service", **at)
        floor = median(samples, "events_per_s", side="store_floor", **at)
        peer = median(samples, "events_per_s", side="naive", **at)
        own = median(samples, cpu("service"), side="service", **at)
        where = f"batches of {BATCH_EVENTS}, {_where(at)}"
        yield Goal(f"{where}: events/s ÷ store floor", "≥", 0.80, ratio(service, floor), 2)
        yield Goal(f"{where}: events/s ÷ naive peer", "≥", 5, ratio(service, peer), 1)
        yield Goal(f"{where}: service CPU per event, us", "≤", 5, own, 1)


def _singles(samples: Samples) -> Iterator[Goal]:
    for workers, counts in SINGLE_CONNECTIONS.items():
        for connections in counts:
            at = {"scenario": "singles", "workers": workers, "connections": connections}
            where = f"single events, {_where(at)}"
            if (bound := HTTP_FLOOR_BOUNDS.get(connections)) is not None:
                floor = median(samples, cpu("service"), side="http_floor", **at)
                off, on = (
                    ratio(median(samples, cpu("service"), request_log=is_on, **at), floor)
                    for is_on in (False, True)
                )
                what = "service CPU ÷ HTTP floor CPU, request log off"
                yield Goal(f"{where}: {what}", "≤", bound, off, 2)
                added = None if off is None or on is None else on - off
                yield Goal(f"{where}: what the request log adds to that", "≤", 0.2, added, 2)
            if connections in PEER_CONNECTIONS:
                peer = median(samples, "events_per_s", side="naive", **at)
                service = median(samples, "events_per_s", request_log=True, **at)
                yield Goal(f"{where}: events/s ÷ naive peer", "≥", 4, ratio(service, peer), 1)


def _latency(samples: Samples) -> Iterator[Goal]:
    for workers in WORKERS:
        at = {"scenario": "latency", "workers": workers, "share": HALF}
        where = f"single events at half of peak, {_workers(workers)}"
        yield Goal(f"{where}: p50, ms", "≤", 5, median(samples, "p50_ms", **at), 2)
        yield Goal(f"{where}: p99, ms", "≤", 25, median(samples, "p99_ms", **at), 2)


def _long(samples: Samples) -> Iterator[Goal]:
    # Compared with the empty ledger before and after, in case the machine became slower meanwhile.
    empty, full = (
        median(samples, "events_per_s", scenario="growth", ledger_ids=ids)
        for ids in (0, LEDGER_IDS[-1])
    )
    millions = LEDGER_IDS[-1] // 1_000_000
    what = f"events/s with {millions} million ids in the ledger ÷ with none"
    yield Goal(what, "≥", 0.85, ratio(full, empty), 2)
    peak = median(samples, lambda sample: sample["peak_rss_bytes"] / 1e6, scenario="memory")
    later = median(samples, second_half_rss, scenario="memory")
    minutes = "ten minutes of batches"
    yield Goal(f"{minutes}: peak RSS of a worker, MB", "≤", 120, peak, 0)
    yield Goal(f"{minutes}: mean RSS of the second half ÷ the first", "≤", 1.05, later, 3)
    fresh, after = (
        median(samples, "p99_ms", scenario="tidying", phase=phase) for phase in ("fresh", "after")
    )
    what = "single events, 4 connections: p99 right after a heavy load ÷ on a fresh database"
    yield Goal(what, "≤", 3, ratio(after, fresh), 2)


def _where(at: dict[str, Any]) -> str:
    return f"{at['connections']} connections, {_workers(at['workers'])}"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
