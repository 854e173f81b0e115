"""The figures of samples as tables: medians beside the goals."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench.experiment import cpu_us_per_event
from bench.scenarios import batches, latency, singles
from bench.traffic import Sample

Samples = list[Sample]


class Goal(NamedTuple):
    """A figure, what it is to be, and how it is written."""

    what: str
    bound: str
    value: float | None
    is_met: bool
    digits: int = 2

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        value = "not measured" if self.value is None else f"{self.value:,.{self.digits}f}"
        return self.what, self.bound, value, "" if self.value is None else _yes(self.is_met)


def goals(samples: Samples) -> str:
    """Return the table of the figures that have a goal, as far as *samples* hold them."""
    rows = [goal.cells for goal in _goals(samples) if goal.value is not None]
    return table(("figure", "goal", "measured", "reached"), rows)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def median(
    samples: Samples, figure: str | Callable[[Sample], float], **labels: Any
) -> float | None:
    """Return the median of a figure over the samples so labelled; None without any."""
    of = figure if callable(figure) else lambda sample: float(sample[figure])
    found = [of(sample) for sample in samples if labels.items() <= sample.items()]
    return statistics.median(found) if found else None


def cpu(part: str) -> Callable[[Sample], float]:
    """Return how to read the CPU per event of *part*."""
    return lambda sample: cpu_us_per_event(sample, part)


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above ÷ below, None when one is missing."""
    return None if above is None or not below else above / below


def _goals(samples: Samples) -> Iterator[Goal]:
    for workers in batches.WORKERS:
        yield from _batch_goals(samples, workers)
    for workers, counts in singles.CONNECTIONS.items():
        yield from _single_goals(samples, workers, counts)
    for workers in latency.WORKERS:
        yield from _latency_goals(samples, workers)


def _batch_goals(samples: Samples, workers: int) -> Iterator[Goal]:
    at = {"scenario": batches.NAME, "workers": workers}
    service = median(samples, "events_per_s", side="service", **at)
    floor = median(samples, "events_per_s", side="store_floor", **at)
    peer = median(samples, "events_per_s", side="naive", **at)
    where = f"batches of {batches.EVENTS}, {_workers(workers)}"
    yield _least(f"{where}: events/s ÷ store floor", 0.80, ratio(service, floor))
    yield _least(f"{where}: events/s ÷ naive peer", 5, ratio(service, peer), digits=1)
    own = median(samples, cpu("service"), side="service", **at)
    yield _most(f"{where}: service CPU per event, us", 5, own, digits=1)
    rss = median(samples, "peak_rss_bytes", side="service", **at)
    yield _most(f"{where}: peak RSS of a worker, MB", 120, rss and rss / 1e6, digits=0)


def _single_goals(samples: Samples, workers: int, counts: tuple[int, ...]) -> Iterator[Goal]:
    bounds = {32: 1.7, 128: 1.4}
    for connections in counts:
        if connections not in bounds:
            continue
        at = {"scenario": singles.NAME, "workers": workers, "connections": connections}
        floor = median(samples, cpu("service"), side="http_floor", **at)
        off = median(samples, cpu("service"), side="service", request_log=False, **at)
        logged = median(samples, cpu("service"), side="service", request_log=True, **at)
        where = f"single events, {connections} connections, {_workers(workers)}"
        off_ratio, log_ratio = ratio(off, floor), ratio(logged, floor)
        what = f"{where}: service CPU ÷ HTTP floor CPU, request log off"
        yield _most(what, bounds[connections], off_ratio)
        added = None if log_ratio is None or off_ratio is None else log_ratio - off_ratio
        yield _most(f"{where}: added to that by the request log", 0.2, added)
        peer = median(samples, "events_per_s", side="naive", **at)
        service = median(samples, "events_per_s", side="service", request_log=True, **at)
        yield _least(f"{where}: events/s ÷ naive peer", 4, ratio(service, peer), digits=1)


def _latency_goals(samples: Samples, workers: int) -> Iterator[Goal]:
    at = {"scenario": latency.NAME, "workers": workers, "share": latency.HALF}
    where = f"single events at half of peak, {_workers(workers)}"
    yield _most(f"{where}: p50, ms", 5, median(samples, "p50_ms", **at))
    yield _most(f"{where}: p99, ms", 25, median(samples, "p99_ms", **at))


def _least(what: str, bound: float, value: float | None, digits: int = 2) -> Goal:
    return Goal(what, f"≥ {bound:g}", value, value is not None and value >= bound, digits)


def _most(what: str, bound: float, value: float | None, digits: int = 2) -> Goal:
    return Goal(what, f"≤ {bound:g}", value, value is not None and value <= bound, digits)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _yes(is_met: bool) -> str:
    return "yes" if is_met else "no"
