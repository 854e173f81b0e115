"""The plots of bench/README.md. Needs the packages of requirements/bench.txt."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.figures import Samples, cpu, median, values
from bench.scenarios import (
    BATCH_CONNECTIONS,
    BATCH_EVENTS,
    LEDGER_IDS,
    SHARES,
    SINGLE_CONNECTIONS,
    WORKERS,
)

Axes = Any

# Okabe and Ito's colours, which people with any colour vision can tell apart.
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
    "svg.hashsalt": "forebay",  # the same data makes the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
}


def draw(samples: Samples, folder: Path) -> None:
    """Draw each plot that *samples* have data for."""
    plots: dict[str, tuple[str, float, Callable[[Figure, Samples], None]]] = {
        "throughput-by-connections": ("singles", 4.0, _throughput),
        "latency-by-load": ("latency", 4.0, _latency),
        "cpu-per-event": ("batches", 5.6, _cpu),
        "ledger-growth": ("growth", 4.0, _growth),
    }
    folder.mkdir(exist_ok=True)
    for name, (scenario, height, plot) in plots.items():
        if any(sample["scenario"] == scenario for sample in samples):
            with mpl.rc_context(_STYLE):
                figure = Figure(figsize=(7.2, height), layout="constrained")
                plot(figure, samples)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, dpi=110)


def _throughput(figure: Figure, samples: Samples) -> None:
    axes = figure.add_subplot()
    series: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("HTTP floor: reads the body, answers a constant", "http_floor", {"side": "http_floor"}),
        ("Forebay, request log off", "quiet", {"side": "service", "request_log": False}),
        ("Forebay", "service", {"side": "service", "request_log": True}),
        ("naive peer", "naive", {"side": "naive"}),
    )
    counts = SINGLE_CONNECTIONS[1]
    for name, colour, side in series:
        found = [
            (count, values(samples, "requests_per_s", **at))
            for count in counts
            if (at := {"scenario": "singles", "workers": 1, "connections": count} | side)
        ]
        _draw_series(axes, name, _COLOURS[colour], found)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    _finish(axes, "Single events, 1 worker", "connections", "requests a second")
    axes.legend()


def _latency(figure: Figure, samples: Samples) -> None:
    axes = figure.add_subplot()
    colours = {"p50": "#56b4e9", "p90": "#0072b2", "p99": "#e69f00", "p999": "#d55e00"}
    at = {"scenario": "latency", "workers": max(WORKERS)}
    for name, colour in colours.items():
        found = [(share, values(samples, f"{name}_ms", share=share, **at)) for share in SHARES]
        _draw_series(axes, "p99.9" if name == "p999" else name, colour, found)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    peak = median(samples, "requests_per_s", share=1.0, **at)
    title = f"Single events at a constant rate, {max(WORKERS)} workers (peak: {peak:,.0f} a second)"
    _finish(axes, title, "share of the peak", "ms from the due time to the answer")
    axes.legend()


def _cpu(figure: Figure, samples: Samples) -> None:
    above, below = figure.subplots(2, 1, height_ratios=(6, 4))
    connections = max(BATCH_CONNECTIONS)
    for workers in WORKERS:
        at = {"scenario": "batches", "workers": workers, "connections": connections}
        count = "1 worker" if workers == 1 else f"{workers} workers"
        _draw_bar(above, samples, f"naive peer, {count}", at | {"side": "naive"})
        _draw_bar(above, samples, f"Forebay, {count}", at | {"side": "service"})
        floor = f"store floor, {2 * workers} connections"
        _draw_bar(above, samples, floor, at | {"side": "store_floor"})
    title = f"Batches of {BATCH_EVENTS}, {connections} connections"
    _finish(above, title, "us of CPU an event", "")
    at = {"scenario": "singles", "workers": 1, "connections": 32}
    _draw_bar(below, samples, "naive peer", at | {"side": "naive"})
    _draw_bar(below, samples, "Forebay", at | {"request_log": True})
    _draw_bar(below, samples, "Forebay, request log off", at | {"request_log": False})
    _draw_bar(below, samples, "HTTP floor", at | {"side": "http_floor"})
    _finish(below, "Single events, 32 connections", "us of CPU an event", "")
    names = {"service": "service or peer", "floor": "client of the floor"}
    names |= {"postgres": "PostgreSQL", "generator": "load generator"}
    patches = [Patch(color=_COLOURS[part], label=name) for part, name in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
    for axes in (above, below):
        axes.grid(visible=False, axis="y")


def _growth(figure: Figure, samples: Samples) -> None:
    axes = figure.add_subplot()
    for part, name in (("service", "service"), ("postgres", "PostgreSQL")):
        found = [
            (ids, values(samples, cpu(part), scenario="growth", ledger_ids=ids))
            for ids in LEDGER_IDS
        ]
        _draw_series(axes, name, _COLOURS[part], found)
    axes.xaxis.set_major_formatter(lambda ids, _: f"{ids / 1_000_000:g} million")
    title = "Batches of 50, 2 workers, as the ledger grows"
    _finish(axes, title, "ids in the ledger", "us of CPU an event")
    axes.legend()


def _draw_bar(axes: Axes, samples: Samples, name: str, labels: dict[str, Any]) -> None:
    left = 0.0
    for part in ("service", "floor", "postgres", "generator"):
        width = median(samples, cpu(part), **labels)
        if width is not None:
            axes.barh(name, width, left=left, color=_COLOURS[part], height=0.65)
            left += width


def _draw_series(
    axes: Axes, name: str, colour: str, measured: Sequence[tuple[float, list[float]]]
) -> None:
    """Draw the medians as a line and each sample as a dot."""
    measured = [(at, found) for at, found in measured if found]
    for at, found in measured:
        axes.plot([at] * len(found), found, ".", color=colour, alpha=0.35, markersize=5)
    medians = [statistics.median(found) for _, found in measured]
    look: dict[str, Any] = {"color": colour, "markersize": 4, "linewidth": 1.6}
    axes.plot([at for at, _ in measured], medians, "o-", label=name, **look)


def _finish(axes: Axes, title: str, below: str, left: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(below)
    axes.set_ylabel(left)
    if axes.get_yscale() == "linear" and left:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,g}")
