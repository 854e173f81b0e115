"""The plots of bench/README.md. Needs the packages of requirements/bench.txt."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.figures import Figure as Measured
from bench.figures import Samples, cpu, median, values
from bench.scenarios import batches, growth, latency, singles

Axes = Any

# Okabe and Ito's colours: told apart by everybody.
_COLOURS: Final = {
    "http_floor": "#999999",
    "service": "#0072b2",
    "quiet": "#56b4e9",
    "naive": "#d55e00",
    "postgres": "#009e73",
    "generator": "#e69f00",
    "floor": "#cc79a7",
}
_STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "forebay",  # the same data, the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
}
# The plot of costs is of busy servers.
_BATCH_CONNECTIONS: Final = max(batches.CONNECTIONS)
_SIZE: Final = (7.2, 4.0)
_SIZES: Final = {"cpu-per-event": (7.2, 5.6)}


class Line(NamedTuple):
    """A figure over the places where it was measured."""

    name: str
    colour: str
    figure: Measured
    over: str
    places: Sequence[float]
    labels: dict[str, Any]


def draw(samples: Samples, folder: Path, suffix: str = "svg") -> list[str]:
    """Draw every plot that *samples* have data for; return the names of the files."""
    plots: dict[str, tuple[str, Callable[[Figure, Samples], None]]] = {
        "throughput-by-connections": (singles.NAME, _throughput),
        "latency-by-load": (latency.NAME, _latency),
        "cpu-per-event": (batches.NAME, _cpu),
        "ledger-growth": (growth.NAME, _growth),
    }
    folder.mkdir(exist_ok=True)
    drawn = []
    for name, (scenario, plot) in plots.items():
        if any(sample["scenario"] == scenario for sample in samples):
            with mpl.rc_context(_STYLE):
                figure = Figure(figsize=_SIZES.get(name, _SIZE), layout="constrained")
                plot(figure, samples)
                path = folder / f"{name}.{suffix}"
                metadata = {"Date": None} if suffix == "svg" else None
                figure.savefig(path, metadata=metadata, dpi=110)
            drawn.append(path.name)
    return drawn


def _throughput(figure: Figure, samples: Samples) -> None:
    axes = figure.add_subplot()
    series = (
        ("HTTP floor: reads the body, answers a constant", "http_floor", {"side": "http_floor"}),
        ("Forebay, request log off", "quiet", {"side": "service", "request_log": False}),
        ("Forebay", "service", {"side": "service", "request_log": True}),
        ("naive peer", "naive", {"side": "naive"}),
    )
    counts = singles.CONNECTIONS[1]
    for name, colour, side in series:
        at = {"scenario": singles.NAME, "workers": 1} | side
        line = Line(name, _COLOURS[colour], "requests_per_s", "connections", counts, at)
        _draw_line(axes, samples, line)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    _finish(axes, "Single events, 1 worker", "connections", "requests a second")
    axes.legend()


def _latency(figure: Figure, samples: Samples) -> None:
    axes = figure.add_subplot()
    colours = {"p50": "#56b4e9", "p90": "#0072b2", "p99": "#e69f00", "p999": "#d55e00"}
    workers = max(latency.WORKERS)
    for name, colour in colours.items():
        at = {"scenario": latency.NAME, "workers": workers}
        label = "p99.9" if name == "p999" else name
        line = Line(label, colour, f"{name}_ms", "share", latency.SHARES, at)
        _draw_line(axes, samples, line)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    peak = median(samples, "requests_per_s", scenario=latency.NAME, workers=workers, share=1.0)
    title = f"Single events at a constant rate, {workers} workers (peak: {peak:,.0f} a second)"
    _finish(axes, title, "share of the peak", "ms from the due time to the answer")
    axes.legend()


def _cpu(figure: Figure, samples: Samples) -> None:
    above, below = figure.subplots(2, 1, height_ratios=(6, 4))
    _bars(above, samples, _batch_bars())
    title = f"Batches of {batches.EVENTS}, {_BATCH_CONNECTIONS} connections"
    _finish(above, title, "us of CPU an event", "")
    _bars(below, samples, _single_bars())
    _finish(below, "Single events, 32 connections", "us of CPU an event", "")
    names = {"service": "service or peer", "floor": "client of the floor"}
    names |= {"postgres": "PostgreSQL", "generator": "load generator"}
    patches = [Patch(color=_COLOURS[part], label=name) for part, name in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))


def _batch_bars() -> dict[str, dict[str, Any]]:
    bars: dict[str, dict[str, Any]] = {}
    for workers in batches.WORKERS:
        at = {"scenario": batches.NAME, "workers": workers, "connections": _BATCH_CONNECTIONS}
        count = "1 worker" if workers == 1 else f"{workers} workers"
        bars[f"naive peer, {count}"] = at | {"side": "naive"}
        bars[f"Forebay, {count}"] = at | {"side": "service"}
        bars[f"store floor, {2 * workers} connections"] = at | {"side": "store_floor"}
    return bars


def _single_bars() -> dict[str, dict[str, Any]]:
    at = {"scenario": singles.NAME, "workers": 1, "connections": 32}
    return {
        "naive peer": at | {"side": "naive"},
        "Forebay": at | {"side": "service", "request_log": True},
        "Forebay, request log off": at | {"side": "service", "request_log": False},
        "HTTP floor": at | {"side": "http_floor"},
    }


def _bars(axes: Axes, samples: Samples, bars: dict[str, dict[str, Any]]) -> None:
    for name, at in bars.items():
        left = 0.0
        for part in ("service", "floor", "postgres", "generator"):
            having = [sample for sample in samples if f"{part}_cpu_s" in sample]
            width = median(having, cpu(part), **at)
            if width is not None:
                axes.barh(name, width, left=left, color=_COLOURS[part], height=0.65)
                left += width
    axes.grid(visible=False, axis="y")


def _growth(figure: Figure, samples: Samples) -> None:
    axes = figure.add_subplot()
    at = {"scenario": growth.NAME}
    steps = [step * growth.MILLION for step in growth.STEPS]
    for part, name in (("service", "service"), ("postgres", "PostgreSQL")):
        _draw_line(axes, samples, Line(name, _COLOURS[part], cpu(part), "ledger_ids", steps, at))
    axes.xaxis.set_major_formatter(lambda ids, _: f"{ids / growth.MILLION:g} million")
    title = f"Batches of 50, {growth.WORKERS} workers, as the ledger grows"
    _finish(axes, title, "ids in the ledger", "us of CPU an event")
    axes.legend()


def _draw_line(axes: Axes, samples: Samples, line: Line) -> None:
    """Draw the medians as a line and every sample as a dot."""
    found = {
        place: measured
        for place in line.places
        if (measured := values(samples, line.figure, **line.labels, **{line.over: place}))
    }
    for place, measured in found.items():
        dots = [place] * len(measured)
        axes.plot(dots, measured, ".", color=line.colour, alpha=0.35, markersize=5)
    medians = [statistics.median(measured) for measured in found.values()]
    look = {"color": line.colour, "markersize": 4, "linewidth": 1.6}
    axes.plot(list(found), medians, "o-", label=line.name, **look)


def _finish(axes: Axes, title: str, below: str, left: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(below)
    axes.set_ylabel(left)
    if axes.get_yscale() == "linear" and left:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,g}")
