"""`python -m bench.render`: the results as tables and plots in bench/README.md."""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any, Final

from bench import archive, tables
from bench.experiment import BUSY_CORES, Plan
from bench.figures import Samples, others_cores
from bench.scenarios import batches, growth, latency, peaks, singles, tidying

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER / "README.md"
BEGIN: Final = "<!-- rendered by bench/render.py: begin -->"
END: Final = "<!-- rendered by bench/render.py: end -->"

_SECTIONS: Final = (
    (batches.NAME, "Batches of 50", tables.batches_table, "cpu-per-event.svg"),
    (singles.NAME, "Single events", tables.singles_table, "throughput-by-connections.svg"),
    (latency.NAME, "Single events at a constant rate", tables.latency_table, "latency-by-load.svg"),
    (peaks.NAME, "Peaks, by two generators", tables.peaks_table, None),
    (tidying.NAME, "While PostgreSQL tidies up", tables.tidying_table, None),
    (growth.NAME, "As the ledger grows", tables.growth_table, "ledger-growth.svg"),
)


def main() -> int:
    """Render what has been measured; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.render", description=__doc__)
    parser.add_argument("--png", type=Path, help="plots as PNG into this folder, to look at")
    options = parser.parse_args()
    measured = archive.read()
    if not measured:
        sys.stderr.write("bench: there are no results to render: run make bench\n")
        return 1
    # Here, not above: only this needs the packages of requirements/bench.txt.
    from bench import drawing  # noqa: PLC0415

    samples = [sample for result in measured.values() for sample in result["samples"]]
    if options.png:
        drawing.draw(samples, options.png, "png")
        return 0
    drawing.draw(samples, FOLDER / "plots")
    PAGE.write_text(inserted(PAGE.read_text(), page(measured, samples)))
    return 0


def page(measured: dict[str, dict[str, Any]], samples: Samples) -> str:
    """Return the rendered part of the page."""
    parts = [*_caution(measured), "## Goals", tables.goals_table(samples)]
    for name, title, table, plot in _SECTIONS:
        if name in measured:
            parts += [f"## {title}", *([f"![{title}](plots/{plot})"] if plot else [])]
            parts.append(table(samples))
    parts += ["## Where and with what", _abouts(measured)]
    return "\n\n".join(parts)


def inserted(text: str, rendered: str) -> str:
    """Return *text* with *rendered* between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has lost its marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{rendered}\n\n{END}{after}"


def _abouts(measured: dict[str, dict[str, Any]]) -> str:
    head = ("scenario", "when", "commit", "rounds", "seconds each", "cores busy with other things")
    rows = (
        (
            name,
            result["about"]["time"],
            result["about"]["commit"] + (" and changes" if result["about"]["is_changed"] else ""),
            str(result["rounds"]),
            f"{result['seconds']:g}",
            _others(result["samples"]),
        )
        for name, result in measured.items()
    )
    newest = max(measured.values(), key=lambda result: result["about"]["time"])
    about, settings = newest["about"], newest["postgresql_settings"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    memory_gib = about["memory_bytes"] / 2**30
    machine = f"{about['cpu']}, {about['cores']} cores, {memory_gib:.0f} GiB, "
    machine += f"Linux {about['kernel']}; {versions}."
    said = ", ".join(f"`{name} = {value}`" for name, value in settings.items())
    return "\n\n".join((tables.table(head, rows), machine, f"PostgreSQL: {said}."))


def _caution(measured: dict[str, dict[str, Any]]) -> list[str]:
    """Say which scenarios were measured too briefly, or beside too much else, to be relied on."""
    found = [
        name
        for name, result in measured.items()
        if result["rounds"] < Plan().rounds
        or statistics.median(others_cores(s) for s in result["samples"] if "watched_s" in s)
        > BUSY_CORES
    ]
    if not found:
        return []
    limits = f"in fewer rounds than {Plan().rounds}, or with more than {BUSY_CORES} cores busy"
    said = f"Measured {limits} with other things: see the end."
    return [f"**Not to be relied on: {', '.join(found)}.** {said}"]


def _others(samples: Samples) -> str:
    """Say how much of the machine was not ours: in the median sample, and in the worst."""
    found = [others_cores(sample) for sample in samples if "others_cpu_s" in sample]
    return f"{statistics.median(found):.2f} (up to {max(found):.2f})" if found else "unknown"


if __name__ == "__main__":
    sys.exit(main())
