"""The figures that are to be reached, beside what was measured."""

from collections.abc import Iterator
from itertools import product
from typing import Final, NamedTuple

from bench.figures import Samples, cpu, later_over_earlier, median, ratio
from bench.scenarios import batches, growth, latency, memory, singles, tidying

HTTP_FLOOR_BOUNDS: Final = {32: 1.7, 128: 1.4}
"""By connections."""


class Goal(NamedTuple):
    """A figure, what it is to be, and how it is written."""

    what: str
    bound: str
    value: float
    is_met: bool
    digits: int

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        return (
            self.what,
            self.bound,
            f"{self.value:,.{self.digits}f}",
            "yes" if self.is_met else "**no**",
        )


HEAD: Final = ("figure", "goal", "measured", "reached")


def goals(samples: Samples) -> list[Goal]:
    """Return every goal whose figure is in *samples*."""
    found: list[Goal | None] = []
    for workers, connections in product(batches.WORKERS, batches.CONNECTIONS):
        found += _of_batches(samples, workers, connections)
    for workers, counts in singles.CONNECTIONS.items():
        for connections in counts:
            found += _of_singles(samples, workers, connections)
    for workers in latency.WORKERS:
        found += _of_latency(samples, workers)
    found += [*_of_growth(samples), *_of_memory(samples), *_of_tidying(samples)]
    return [goal for goal in found if goal is not None]


def _of_batches(samples: Samples, workers: int, connections: int) -> Iterator[Goal | None]:
    at = {"scenario": batches.NAME, "workers": workers, "connections": connections}
    service = median(samples, "events_per_s", side="service", **at)
    floor = median(samples, "events_per_s", side="store_floor", **at)
    peer = median(samples, "events_per_s", side="naive", **at)
    where = f"batches of {batches.EVENTS}, {connections} connections, {_workers(workers)}"
    yield _least(f"{where}: events/s ÷ store floor", 0.80, ratio(service, floor), 2)
    yield _least(f"{where}: events/s ÷ naive peer", 5, ratio(service, peer), 1)
    own = median(samples, cpu("service"), side="service", **at)
    yield _most(f"{where}: service CPU per event, us", 5, own, 1)


def _of_singles(samples: Samples, workers: int, connections: int) -> Iterator[Goal | None]:
    at = {"scenario": singles.NAME, "workers": workers, "connections": connections}
    where = f"single events, {connections} connections, {_workers(workers)}"
    if connections in HTTP_FLOOR_BOUNDS:
        floor = median(samples, cpu("service"), side="http_floor", **at)
        plain = median(samples, cpu("service"), side="service", request_log=False, **at)
        logged = median(samples, cpu("service"), side="service", request_log=True, **at)
        plain_ratio, logged_ratio = ratio(plain, floor), ratio(logged, floor)
        what = f"{where}: service CPU ÷ HTTP floor CPU, request log off"
        yield _most(what, HTTP_FLOOR_BOUNDS[connections], plain_ratio, 2)
        if plain_ratio is not None and logged_ratio is not None:
            added = logged_ratio - plain_ratio
            yield _most(f"{where}: what the request log adds to that", 0.2, added, 2)
    if connections in singles.PEER_CONNECTIONS:
        peer = median(samples, "events_per_s", side="naive", **at)
        service = median(samples, "events_per_s", side="service", request_log=True, **at)
        yield _least(f"{where}: events/s ÷ naive peer", 4, ratio(service, peer), 1)


def _of_latency(samples: Samples, workers: int) -> Iterator[Goal | None]:
    at = {"scenario": latency.NAME, "workers": workers, "share": latency.HALF}
    where = f"single events at half of peak, {_workers(workers)}"
    yield _most(f"{where}: p50, ms", 5, median(samples, "p50_ms", **at), 2)
    yield _most(f"{where}: p99, ms", 25, median(samples, "p99_ms", **at), 2)


def _of_growth(samples: Samples) -> Iterator[Goal | None]:
    at = {"scenario": growth.NAME}
    # Without a ledger at the start and again at the end: a machine that slows down shows in both.
    empty = median(samples, "events_per_s", ledger_ids=0, **at)
    full = median(samples, "events_per_s", ledger_ids=growth.STEPS[-1] * growth.MILLION, **at)
    what = f"events/s with {growth.STEPS[-1]} million ids in the ledger ÷ with none"
    yield _least(what, 0.85, ratio(full, empty), 2)


def _of_memory(samples: Samples) -> Iterator[Goal | None]:
    at = {"scenario": memory.NAME}
    peak = median(samples, "peak_rss_bytes", **at)
    what = "ten minutes of batches: peak RSS of a worker, MB"
    yield _most(what, 120, None if peak is None else peak / 1e6, 0)
    later = median(samples, later_over_earlier, **at)
    yield _most("ten minutes of batches: mean RSS of the second half ÷ the first", 1.05, later, 3)


def _of_tidying(samples: Samples) -> Iterator[Goal | None]:
    at = {"scenario": tidying.NAME}
    fresh = median(samples, "p99_ms", phase="fresh", **at)
    after = median(samples, "p99_ms", phase="after", **at)
    what = "single events, 4 connections: p99 right after a heavy load ÷ on a fresh database"
    yield _most(what, 3, ratio(after, fresh), 2)


def _least(what: str, bound: float, value: float | None, digits: int) -> Goal | None:
    return None if value is None else Goal(what, f"≥ {bound:g}", value, value >= bound, digits)


def _most(what: str, bound: float, value: float | None, digits: int) -> Goal | None:
    return None if value is None else Goal(what, f"≤ {bound:g}", value, value <= bound, digits)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
