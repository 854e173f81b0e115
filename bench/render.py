"""`python -m bench.render`: the results as tables and plots in bench/README.md."""

import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import attacks
from bench.experiment import BUSY_CORES, RunOptions
from bench.figures import (
    Figure,
    Sample,
    Samples,
    cpu,
    median,
    others_cores,
    ratio,
    read_results,
    values,
)
from bench.goals import Cells, goals_table, table

BENCH: Final = Path(__file__).parent
PAGE: Final = BENCH / "README.md"
BEGIN: Final = "<!-- rendered by bench/render.py: begin -->"
END: Final = "<!-- rendered by bench/render.py: end -->"
_SIDES: Final = {
    "store_floor": "store floor",
    "http_floor": "HTTP floor",
    "service": "Forebay",
    "naive": "naive peer",
}
_TOOLS: Final = {"closed loop": "ours", "wrk": "wrk"}
_PHASES: Final = {"fresh": "fresh database", "after": "right after the load"}


class Column(NamedTuple):
    """A column of medians, with the range of all samples if *has_range*."""

    name: str
    figure: Figure
    digits: int = 1
    has_range: bool = False


class Section(NamedTuple):
    """A table with one row for each combination of *labels*, in this order."""

    scenario: str
    title: str
    plot: str | None
    labels: tuple[str, ...]
    row_head: tuple[str, ...]
    row_cells: Callable[[Sample], Cells]
    columns: tuple[Column, ...]


def _service_cpu(sample: Sample) -> float | None:
    # The store floor has no separate client.
    figure = cpu("floor" if sample["side"] == "store_floor" else "service")
    return figure(sample) if callable(figure) else None


_CPUS: Final = (
    Column("service us", _service_cpu),
    Column("PostgreSQL us", cpu("postgres")),
    Column("generator us", cpu("generator")),
)
_EVENTS: Final = Column("events/s (range)", "events_per_s", 0, has_range=True)
_REQUESTS: Final = Column("requests/s (range)", "requests_per_s", 0, has_range=True)
_P50: Final = Column("p50 ms", "p50_ms")
_P90: Final = Column("p90 ms", "p90_ms")
_P99: Final = Column("p99 ms", "p99_ms")
_MAX: Final = Column("max ms", "max_ms")
_TO_FLOOR: Final = "CPU ÷ HTTP floor"


def _side(sample: Sample) -> str:
    is_quiet = sample.get("request_log") is False
    return _SIDES[sample["side"]] + (", request log off" if is_quiet else "")


SECTIONS: Final = (
    Section(
        "batches",
        "Batches of 50",
        "cpu-per-event.svg",
        ("workers", "connections", "side"),
        ("workers", "connections", ""),
        lambda sample: (str(sample["workers"]), str(sample["connections"]), _side(sample)),
        (_EVENTS, _P50, _P99, *_CPUS, Column("rows a flush", "flush_rows", 0)),
    ),
    Section(
        "singles",
        "Single events",
        "throughput-by-connections.svg",
        ("workers", "connections", "side", "request_log"),
        ("workers", "connections", ""),
        lambda sample: (str(sample["workers"]), str(sample["connections"]), _side(sample)),
        (_REQUESTS, _P50, _P99, *_CPUS, Column(_TO_FLOOR, _service_cpu, 2)),
    ),
    Section(
        "latency",
        "Single events at a constant rate",
        "latency-by-load.svg",
        ("workers", "share"),
        ("workers", "share of peak"),
        lambda sample: (
            str(sample["workers"]),
            "closed loop" if sample["share"] == 1.0 else f"{sample['share']:.0%}",
        ),
        (
            Column("requests/s", "requests_per_s", 0),
            *(_P50, _P90, _P99, Column("p99.9 ms", "p999_ms"), _MAX),
        ),
    ),
    Section(
        "peaks",
        "Peaks, by two generators",
        None,
        ("batch", "tool"),
        ("events a request", "generator"),
        lambda sample: (str(sample["batch"]), _TOOLS[sample["tool"]]),
        (_REQUESTS, _P50, _P99),
    ),
    Section(
        "tidying",
        "While PostgreSQL tidies up",
        None,
        ("phase",),
        ("",),
        lambda sample: (_PHASES[sample["phase"]],),
        (_REQUESTS, _P50, _P90, _P99, _MAX),
    ),
    Section(
        "growth",
        "As the ledger grows",
        "ledger-growth.svg",
        ("is_again", "ledger_ids"),
        ("ids in the ledger",),
        lambda sample: (f"{sample['ledger_ids']:,}" + (", again" if sample["is_again"] else ""),),
        (_EVENTS, _P50, _P99, *_CPUS),
    ),
)


def main() -> int:
    """Render the results; return the exit code."""
    results = read_results()
    if not results:
        sys.stderr.write("bench: there are no results: run make bench\n")
        return 1
    # The import needs the packages of requirements/bench.txt.
    from bench import plots  # noqa: PLC0415

    plots.draw(_samples(results), BENCH / "plots")
    PAGE.write_text(inserted(PAGE.read_text(), page(results)))
    return 0


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the rendered part of the page."""
    parts = [*_caution(results), "## Goals", goals_table(_samples(results))]
    for section in SECTIONS:
        if section.scenario in results:
            plot = section.plot and f"![{section.title}](plots/{section.plot})"
            parts += [f"## {section.title}", *([plot] if plot else [])]
            parts.append(section_table(section, results[section.scenario]["samples"]))
    parts += ["## Strangers", attacks.section()]
    parts += ["## Where and with what", *_abouts(results)]
    return "\n\n".join(parts)


def _samples(results: dict[str, dict[str, Any]]) -> Samples:
    return [sample for result in results.values() for sample in result["samples"]]


def inserted(text: str, rendered: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """Return *text* with *rendered* between its two marks."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{PAGE} does not have the marks {marks[0]} and {marks[1]}")
    return f"{before}{begin}\n\n{rendered}\n\n{end}{after}"


def section_table(section: Section, samples: Samples) -> str:
    """Return the table of a section."""
    rows = []
    known = [sample for sample in samples if sample.get("phase") != "load"]
    for labels in _combinations(known, section.labels):
        group = [sample for sample in known if labels.items() <= sample.items()]
        cells = (_cell(column, group, known) for column in section.columns)
        rows.append((*section.row_cells(group[0]), *cells))
    head = (*section.row_head, *(column.name for column in section.columns))
    return table(head, rows)


def _combinations(samples: Samples, names: Iterable[str]) -> list[Sample]:
    """Return the combinations of these labels, sorted; sides in the order of `_SIDES`."""
    found = {tuple((name, s[name]) for name in names if name in s): s for s in samples}

    def rank(labels: tuple[tuple[str, Any], ...]) -> list[Any]:
        orders: dict[str, list[str]] = {"side": list(_SIDES), "phase": list(_PHASES)}
        return [orders[n].index(value) if n in orders else value for n, value in labels]

    return [dict(labels) for labels in sorted(found, key=rank)]


def _cell(column: Column, group: Samples, samples: Samples) -> str:
    value = median(group, column.figure)
    if column.name == _TO_FLOOR:
        at = {name: group[0][name] for name in ("workers", "connections")}
        value = ratio(value, median(samples, column.figure, side="http_floor", **at))
    if value is None:
        return ""
    text = f"{value:,.{column.digits}f}"
    if not column.has_range:
        return text
    found = values(group, column.figure)
    return f"{text} ({min(found):,.0f} to {max(found):,.0f})"


def _abouts(results: dict[str, dict[str, Any]]) -> list[str]:
    head = ("scenario", "when", "commit", "rounds", "seconds each", "cores busy with other things")
    rows: list[Cells] = [
        (
            name,
            result["about"]["time"],
            result["about"]["commit"] + (" and changes" if result["about"]["is_changed"] else ""),
            str(result["rounds"]),
            f"{result['seconds']:g}",
            _others(result["samples"]),
        )
        for name, result in results.items()
    ]
    newest = max(results.values(), key=lambda result: str(result["about"]["time"]))
    about, settings = newest["about"], newest["postgresql_settings"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = f"{about['cpu']}, {about['cores']} cores, {about['memory_bytes'] / 2**30:.0f} GiB, "
    machine += f"Linux {about['kernel']}; {versions}."
    said = ", ".join(f"`{name} = {value}`" for name, value in settings.items())
    return [table(head, rows), machine, f"PostgreSQL: {said}."]


def _caution(results: dict[str, dict[str, Any]]) -> list[str]:
    """Name the scenarios that were measured too briefly or on a busy machine."""
    found = [
        name
        for name, result in results.items()
        if result["rounds"] < RunOptions().rounds
        or statistics.median(others_cores(s) for s in result["samples"] if "watched_s" in s)
        > BUSY_CORES
    ]
    if not found:
        return []
    limits = f"in fewer rounds than {RunOptions().rounds}, or with more than {BUSY_CORES} cores"
    said = f"Measured {limits} busy with other things: see the end."
    return [f"**Not to be relied on: {', '.join(found)}.** {said}"]


def _others(samples: Samples) -> str:
    """Return how many cores were busy with other programs: median and maximum."""
    found = [others_cores(sample) for sample in samples if "others_cpu_s" in sample]
    return f"{statistics.median(found):.2f} (up to {max(found):.2f})" if found else "unknown"


if __name__ == "__main__":
    sys.exit(main())
