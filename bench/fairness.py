"""
`python -m bench.fairness`: a tenant with a constant rate beside a noisy one.

For each kind of noise and each number of connections it measures the tenant with the constant rate:

- alone;
- while the noisy tenant sends to another service on the same machine, with a database of its own:
  what this costs is the machine's part;
- while the noisy tenant sends to the same service.

`--before TREE` measures the service of another checkout in the same run. `--write` puts the table
into bench/README.md.
"""

import argparse
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.database import SETTINGS, BenchDatabase, own_database
from bench.experiment import run_program
from bench.figures import Sample
from bench.goals import table
from bench.noisy import BATCH, CASES
from bench.processes import ROOT, ServerProcess, running
from bench.render import PAGE, inserted

MARKS: Final = (
    "<!-- rendered by bench/fairness.py: begin -->",
    "<!-- rendered by bench/fairness.py: end -->",
)
CONNECTIONS: Final = (8, 16, 64, 120)
WORKERS: Final = 2
# Two servers at once. A server that has run for a while reuses its WAL files; a new one fills each
# new file with zeros, and no transaction commits meanwhile (measured: 0.2 s).
_SETTINGS: Final = SETTINGS | {"shared_buffers": "512MB", "wal_init_zero": "off"}
_GOOD_CONNECTIONS: Final = 16
_SETTLING_S: Final = 1.0
_OK: Final = "200"
_FIGURES: Final = (
    *("requests", "statuses", "broken", "unanswered"),
    *("p50_ms", "p99_ms", "max_ms", "late_p99_ms"),
)


class Site(NamedTuple):
    """A service with a database of its own."""

    server: ServerProcess
    database: BenchDatabase


class Flushes(NamedTuple):
    """The flushes so far."""

    number: float
    seconds: float


def main() -> None:
    """Measure each case and print the table."""
    options = _options()
    trees = {"after": ROOT} | ({"before": options.before} if options.before else {})
    rows: list[Sample] = []
    with contextlib.ExitStack() as stack:
        database, other = (stack.enter_context(own_database(settings=_SETTINGS)) for _ in range(2))
        for case in options.cases:
            for connections in options.connections:
                row = {"case": case, "connections": connections}
                rows.append(row | _measure(database, other, trees, row, options))
                print(json.dumps(rows[-1]), flush=True)
    text = fairness_table(rows)
    print(text)
    if options.write:
        PAGE.write_text(inserted(PAGE.read_text(), text, MARKS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--connections", nargs="*", type=int, default=list(CONNECTIONS))
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--before", type=Path, help="another checkout, after `make setup`")
    parser.add_argument("--no-machine", action="store_true", help="without the other service")
    parser.add_argument("--write", action="store_true", help="write the table to bench/README.md")
    return parser.parse_args()


def _measure(
    database: BenchDatabase,
    other: BenchDatabase,
    trees: dict[str, Path],
    row: Sample,
    options: argparse.Namespace,
) -> Sample:
    figures: Sample = {}
    for name, tree in trees.items():
        database.empty()
        with running("service", WORKERS, database.url, request_log=False, tree=tree) as server:
            site = Site(server, database)
            figures[name] = {"alone": _good(site, options)}
            if name == "after" and not options.no_machine:
                other.empty()
                with running("service", WORKERS, other.url, request_log=False) as elsewhere:
                    noisy = _noise(Site(elsewhere, other), row)
                    with noisy:
                        figures[name]["elsewhere"] = _good(site, options)
            figures[name]["beside"] = _beside(site, row, options)
    return figures


def _beside(site: Site, row: Sample, options: argparse.Namespace) -> Sample:
    with _noise(site, row) as noise:
        before = _flushes(site.server)
        figures = _good(site, options)
        after = _flushes(site.server)
    number = after.number - before.number
    flush_ms = 1000 * (after.seconds - before.seconds) / number if number else 0.0
    return figures | {"flush_ms": flush_ms, "flushes": number, "noise": noise}


@contextlib.contextmanager
def _noise(site: Site, row: Sample) -> Iterator[dict[str, int]]:
    """Let the noisy tenant send; at the end fill in the number of its answers by status."""
    key = site.database.keys[1].api_key
    load = row | {"address": site.server.address, "key": key}
    command = [sys.executable, "-m", "bench.noisy", json.dumps(load)]
    statuses: dict[str, int] = {}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as noisy:
        try:
            time.sleep(_SETTLING_S)
            began = time.monotonic()
            yield statuses
        finally:
            noisy.send_signal(signal.SIGTERM)
            output, _ = noisy.communicate()
    answers: dict[str, int] = json.loads(output)
    seconds = time.monotonic() - began + _SETTLING_S
    accepted = answers.get(_OK, 0)
    statuses |= answers | {"events_per_s": int(accepted * BATCH / seconds)}


def _good(site: Site, options: argparse.Namespace) -> Sample:
    given = {
        "address": site.server.address,
        "keys": [site.database.keys[0].api_key],
        "connections": _GOOD_CONNECTIONS,
        "batch": 1,
        "rate": options.rate,
        "warmup": 0.5,
        "seconds": options.seconds,
    }
    clocks = {"service": site.server.cpu_s, "postgres": site.database.cpu_s}
    figures = run_program("generator", given, clocks)
    cores = {
        f"{part}_cores": figures[f"{part}_cpu_s"] / figures["watched_s"]
        for part in (*clocks, "others")
    }
    return {name: figures[name] for name in _FIGURES} | cores


def _flushes(server: ServerProcess) -> Flushes:
    assert server.metrics_url is not None
    with urllib.request.urlopen(server.metrics_url) as answer:  # noqa: S310 - our own, http
        text = answer.read().decode()
    name = "forebay_flush_duration_seconds"
    values = [re.search(rf"^{name}_{part} (\S+)$", text, re.MULTILINE) for part in ("count", "sum")]
    return Flushes(*(float(match[1]) if match else 0.0 for match in values))


def is_reached(measured: Sample) -> bool:
    """Whether nothing was refused, and the p99 is at most twice that alone, plus one flush."""
    beside, alone = measured["beside"], measured["alone"]
    return not refused(beside) and beside["p99_ms"] <= 2 * alone["p99_ms"] + beside["flush_ms"]


def refused(figures: Sample) -> int:
    """Return the number of requests without the answer 200."""
    return int(figures["requests"]) - int(figures["statuses"].get(_OK, 0))


def fairness_table(rows: list[Sample]) -> str:
    """Return the figures as a Markdown table."""
    has_before = any("before" in row for row in rows)
    before = ("before: alone, beside ms", "before: refused") if has_before else ()
    head = (
        *("the noisy tenant sends", "connections", *before),
        *("alone ms", "noise elsewhere ms", "beside ms", "sent late ms", "one flush ms"),
        *("refused", "reached", "noise, events/s"),
    )
    return table(head, [_cells(row, has_before=has_before) for row in rows])


def _cells(row: Sample, *, has_before: bool) -> tuple[str, ...]:
    cells = [row["case"], str(row["connections"])]
    if has_before:
        alone, beside = row["before"]["alone"], row["before"]["beside"]
        cells += [f"{_both(alone)}; {_both(beside)}", _of_all(beside)]
    after = row["after"]
    cells += [_both(after["alone"]), _both(after.get("elsewhere")), _both(after["beside"])]
    cells += [f"{after['beside'][figure]:.1f}" for figure in ("late_p99_ms", "flush_ms")]
    cells += [_of_all(after["beside"])]
    cells += ["yes" if is_reached(after) else "**no**"]
    return (*cells, f"{after['beside']['noise'].get('events_per_s', 0):,}")


def _both(figures: Sample | None) -> str:
    return "" if figures is None else f"{figures['p50_ms']:.1f}, {figures['p99_ms']:.1f}"


def _of_all(figures: Sample) -> str:
    return f"{refused(figures)} of {figures['requests']}"


if __name__ == "__main__":
    main()
