"""Samples as Markdown tables: medians, with the range of events/s beside them."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

from bench import goals
from bench.figures import Figure, Samples, cpu, median, ratio, values
from bench.scenarios import batches, growth, latency, peaks, singles, tidying

Row = tuple[str, ...]

_SIDES: Final = {
    "service": "Forebay",
    "store_floor": "store floor",
    "http_floor": "HTTP floor",
    "naive": "naive peer",
}


def goals_table(samples: Samples) -> str:
    """Return the figures that have a goal; nothing when there are none."""
    rows = [goal.cells for goal in goals.goals(samples)]
    return table(goals.HEAD, iter(rows)) if rows else ""


def batches_table(samples: Samples) -> str:
    """Return the batches of every side."""
    head = ("workers", "connections", "", "events/s (range)", "p50 ms", "p99 ms", *_CPU_HEAD)
    return table((*head, "rows a flush"), _batches(samples))


def singles_table(samples: Samples) -> str:
    """Return the single events of every side, by connections."""
    head = ("workers", "connections", "", "requests/s (range)", "p50 ms", "p99 ms", *_CPU_HEAD)
    return table((*head, "CPU ÷ HTTP floor"), _singles(samples))


def latency_table(samples: Samples) -> str:
    """Return the latencies at shares of the peak."""
    head = ("workers", "share of peak", "requests/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms")
    return table((*head, "max ms"), _latency(samples))


def peaks_table(samples: Samples) -> str:
    """Return the peaks by both generators."""
    head = ("events a request", "generator", "requests/s (range)", "p50 ms", "p99 ms")
    return table(head, _peaks(samples))


def growth_table(samples: Samples) -> str:
    """Return the cost as the ledger grows."""
    head = ("ids in the ledger", "events/s (range)", "p50 ms", "p99 ms", *_CPU_HEAD)
    return table(head, _growth(samples))


def tidying_table(samples: Samples) -> str:
    """Return the latencies before and after a heavy load."""
    head = ("", "requests/s (range)", "p50 ms", "p90 ms", "p99 ms", "max ms")
    return table(head, _tidying(samples))


def table(head: Row, rows: Iterator[Row]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_CPU_HEAD: Final = ("service us", "PostgreSQL us", "generator us")


def _batches(samples: Samples) -> Iterator[Row]:
    sides = ("store_floor", "service", "naive")
    for workers, connections, side in product(batches.WORKERS, batches.CONNECTIONS, sides):
        at = {"scenario": batches.NAME, "workers": workers, "connections": connections}
        at["side"] = side
        if values(samples, "events_per_s", **at):
            rows = None if side == "naive" else median(samples, "flush_rows", **at)
            yield (
                *(str(workers), str(connections), _SIDES[side]),
                _range(samples, "events_per_s", **at),
                *_latencies(samples, **at),
                *_cpus(samples, **at),
                _number(rows, 0),
            )


def _singles(samples: Samples) -> Iterator[Row]:
    for workers, counts in singles.CONNECTIONS.items():
        for connections in counts:
            at = {"scenario": singles.NAME, "workers": workers, "connections": connections}
            floor = median(samples, cpu("service"), side="http_floor", **at)
            for name, side in _single_sides():
                found = at | side
                if not values(samples, "events_per_s", **found):
                    continue
                own = median(samples, cpu("service"), **found)
                yield (
                    *(str(workers), str(connections), name),
                    _range(samples, "requests_per_s", **found),
                    *_latencies(samples, **found),
                    *_cpus(samples, **found),
                    _number(ratio(own, floor), 2),
                )


def _single_sides() -> Iterator[tuple[str, dict[str, Any]]]:
    yield _SIDES["http_floor"], {"side": "http_floor"}
    yield "Forebay, request log off", {"side": "service", "request_log": False}
    yield "Forebay", {"side": "service", "request_log": True}
    yield _SIDES["naive"], {"side": "naive"}


def _latency(samples: Samples) -> Iterator[Row]:
    for workers in latency.WORKERS:
        for share in (*latency.SHARES, 1.0):
            at = {"scenario": latency.NAME, "workers": workers, "share": share}
            if not values(samples, "p50_ms", **at):
                continue
            name = "closed loop" if share == 1.0 else f"{share:.0%}"
            figures = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")
            yield (
                *(str(workers), name, _number(median(samples, "requests_per_s", **at), 0)),
                *(_number(median(samples, figure, **at), 1) for figure in figures),
            )


def _peaks(samples: Samples) -> Iterator[Row]:
    for batch in peaks.BATCHES:
        for tool in ("closed loop", "wrk"):
            at = {"scenario": peaks.NAME, "batch": batch, "tool": tool}
            if values(samples, "requests_per_s", **at):
                yield (
                    *(str(batch), "ours" if tool == "closed loop" else tool),
                    _range(samples, "requests_per_s", **at),
                    *_latencies(samples, **at),
                )


def _growth(samples: Samples) -> Iterator[Row]:
    for millions, is_again in (*((step, False) for step in growth.STEPS), (0, True)):
        ids = millions * growth.MILLION
        at = {"scenario": growth.NAME, "ledger_ids": ids, "is_again": is_again}
        if values(samples, "events_per_s", **at):
            yield (
                f"{ids:,}" + (", again" if is_again else ""),
                _range(samples, "events_per_s", **at),
                *_latencies(samples, **at),
                *_cpus(samples, **at),
            )


def _tidying(samples: Samples) -> Iterator[Row]:
    names = {"fresh": "fresh database", "after": "right after the load"}
    for phase, name in names.items():
        at = {"scenario": tidying.NAME, "phase": phase}
        if values(samples, "p99_ms", **at):
            figures = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
            yield (
                name,
                _range(samples, "requests_per_s", **at),
                *(_number(median(samples, figure, **at), 1) for figure in figures),
            )


def _latencies(samples: Samples, **at: Any) -> Row:
    return tuple(_number(_known(samples, figure, **at), 1) for figure in ("p50_ms", "p99_ms"))


def _cpus(samples: Samples, **at: Any) -> Row:
    """Return CPU by part; the store floor is its own client, so it stands in for the service."""
    parts = ("floor" if at.get("side") == "store_floor" else "service", "postgres", "generator")
    return tuple(_number(_known(samples, f"{part}_cpu_s", cpu(part), **at), 1) for part in parts)


def _known(samples: Samples, name: str, figure: Figure | None = None, **at: Any) -> float | None:
    having = [sample for sample in samples if name in sample]
    return median(having, figure or name, **at)


def _range(samples: Samples, figure: str, **at: Any) -> str:
    found = values(samples, figure, **at)
    return f"{_number(median(samples, figure, **at), 0)} ({min(found):,.0f} to {max(found):,.0f})"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
