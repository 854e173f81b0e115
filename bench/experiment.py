"""Samples: a program sends load to a server; the CPU time of all parts is read before and after."""

import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from bench import processes
from bench.database import BenchDatabase
from bench.figures import Sample, cpu_us_per_event, others_cores
from bench.processes import ROOT, ServerProcess

# The default of FOREBAY_FLUSHES_MAX.
FLUSHES_PER_WORKER: Final = 2
# With more cores busy with other programs, only ratios within a round are valid.
BUSY_CORES: Final = 0.2
_EVENT_TABLES: Final = {"service": "events", "naive": "naive.events"}
_LABELS: Final = (
    *("scenario", "side", "tool", "phase", "workers", "request_log"),
    *("connections", "batch", "rate"),
)

Step = Callable[[], object]


class LoadError(Exception):
    """The load was not as planned, so its figures are not valid."""


class Load(NamedTuple):
    """What the generator sends. *rate* is in requests per second; None is a closed loop."""

    connections: int
    batch: int = 1
    rate: float | None = None
    seconds: float = 5.0
    warmup: float = 1.5


class RunOptions(NamedTuple):
    """How many rounds, how long each sample takes, and settings of the service."""

    rounds: int = 5
    seconds: float = 5.0
    warmup: float = 1.5
    settings: dict[str, str] = {}  # noqa: RUF012 - never changed
    checkpoint: bool = True
    """Before each sample, so that it does not pay for the one before."""

    def load(self, connections: int, **further: Any) -> Load:
        """Return a load of this length."""
        return Load(connections, seconds=self.seconds, warmup=self.warmup)._replace(**further)


class Experiment:
    """Takes samples on one database, keeps them, and prints each."""

    def __init__(self, database: BenchDatabase, options: RunOptions) -> None:
        self.database = database
        self.options = options
        self.samples: list[Sample] = []
        self._started = time.monotonic()

    def server(
        self, side: str, workers: int, *, request_log: bool = True
    ) -> contextlib.AbstractContextManager[ServerProcess]:
        """Run the server of a side; see `processes.running`."""
        url, settings = self.database.url, self.options.settings
        return processes.running(side, workers, url, request_log=request_log, settings=settings)

    def alternate(self, steps: list[Step]) -> None:
        """Take all steps once per round, reversed in every second round: drift favours no side."""
        for number in range(self.options.rounds):
            for step in steps if number % 2 == 0 else reversed(steps):
                step()

    def send(
        self,
        server: ServerProcess,
        load: Load,
        labels: Sample,
        *,
        empty_first: bool = True,
        keep_ledger: bool = False,
    ) -> Sample:
        """
        Send *load* and return its figures with *labels*; the sample is kept.

        Raises
        ------
        LoadError
            An event was not accepted, or fewer are stored than were accepted.
        """
        if empty_first:
            checkpoint = self.options.checkpoint
            self.database.empty(checkpoint=checkpoint, keep_ledger=keep_ledger)
        rows, flushes = _flush_metrics(server)
        given = load._asdict() | {
            "address": server.address,
            "keys": [key.api_key for key in self.database.keys],
        }
        cpu_clocks = {"service": server.cpu_s, "postgres": self.database.cpu_s}
        sample = labels | load._asdict() | run_program("generator", given, cpu_clocks)
        del sample["warmup"]
        require_all_accepted(sample)
        table = _EVENT_TABLES.get(labels["side"])
        accepted = sample["accepted_ever"]
        if empty_first and table and (stored := self.database.stored(table)) != accepted:
            raise LoadError(f"{accepted} events accepted, {stored} stored")
        rows_after, flushes_after = _flush_metrics(server)
        flushes = flushes_after - flushes
        sample["flush_rows"] = (rows_after - rows) / flushes if flushes else None
        sample["peak_rss_bytes"] = server.rss_bytes("VmHWM:")
        return self.add(sample)

    def replay(self, flush_rows: int, labels: Sample, load: Load) -> Sample:
        """Store prepared flushes on the connections of *labels*' workers; keep the sample."""
        self.database.empty(checkpoint=self.options.checkpoint)
        given = {
            "url": self.database.url,
            "connections": labels["workers"] * FLUSHES_PER_WORKER,
            "flush_rows": flush_rows,
            "warmup": load.warmup,
            "seconds": load.seconds,
        }
        cpu_clocks = {"postgres": self.database.cpu_s}
        sample = {"side": "store_floor"} | labels | run_program("store_floor", given, cpu_clocks)
        sample["floor_cpu_s"] = sample.pop("store_floor_cpu_s")
        return self.add(sample)

    def add(self, sample: Sample) -> Sample:
        """Keep a sample, and print it."""
        self.samples.append(sample)
        print(f"{time.monotonic() - self._started:6.0f} s  {_line(sample)}", flush=True)
        busy = others_cores(sample) if "others_cpu_s" in sample else 0.0
        if busy > BUSY_CORES:
            print(f"          {busy:.1f} cores were busy with other programs", flush=True)
        return sample


def has_peer() -> bool:
    """Whether the packages of the naive peer are installed."""
    return all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn"))


def run_program(
    name: str, given: dict[str, Any], cpu_clocks: dict[str, Callable[[], float]]
) -> Sample:
    """
    Run `bench.<name>` and return its figures with the CPU time of each part in seconds.

    Raises
    ------
    LoadError
        The program failed.
    """
    command = [sys.executable, "-m", f"bench.{name}", json.dumps(given)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        clocks = cpu_clocks | {
            name: lambda: processes.cpu_s(program.pid),
            "others": processes.machine_cpu_s,
        }
        readings = []
        for word in ("begin", "end"):
            if (line := program.stdout.readline().strip()) != word:
                program.kill()
                raise LoadError(f"bench.{name} printed {line!r} instead of {word}")
            began = time.monotonic()
            times = {part: clock() for part, clock in clocks.items()}
            readings.append((times, (began + time.monotonic()) / 2))
        program.stdin.close()  # lets the program end
        figures: Sample = json.loads(program.stdout.readline() or "{}")
    if program.returncode or not figures:
        raise LoadError(f"bench.{name} failed with exit code {program.returncode}")
    (before, began), (after, ended) = readings
    used = {part: after[part] - before[part] for part in after}
    machine_s = used.pop("others")
    used["others"] = max(machine_s - sum(used.values()), 0.0)
    return figures | {f"{part}_cpu_s": s for part, s in used.items()} | {"watched_s": ended - began}


def require_all_accepted(sample: Sample) -> None:
    """
    Refuse a sample in which an event was not accepted.

    Raises
    ------
    LoadError
        An answer was not 200, an event was not accepted, or an answer is missing.
    """
    wrong = {
        "statuses": {s: n for s, n in sample["statuses"].items() if s != "200"},
        "not accepted": sample["requests"] * sample["batch"] - sample["accepted"],
        **{name: sample[name] for name in ("broken", "unanswered")},
    }
    if any(wrong.values()):
        raise LoadError(f"not all events were accepted: {json.dumps(wrong)}")


def _flush_metrics(server: ServerProcess) -> tuple[float, float]:
    """Return the rows and the number of all flushes so far; zeros of a server without metrics."""
    if server.metrics_url is None:
        return 0.0, 0.0
    with urllib.request.urlopen(server.metrics_url) as answer:  # noqa: S310 - our own, http
        text = answer.read().decode()
    names = ("forebay_flush_rows_sum", "forebay_flush_rows_count")
    found = [re.search(rf"^{name} (\S+)$", text, re.MULTILINE) for name in names]
    rows, flushes = (float(match[1]) if match else 0.0 for match in found)
    return rows, flushes


def _line(sample: Sample) -> str:
    labels = [f"{name}={sample[name]}" for name in _LABELS if sample.get(name) is not None]
    return f"{' '.join(labels)}  ->  {', '.join(_figures(sample))}"


def _figures(sample: Sample) -> Iterator[str]:
    yield f"{sample['events_per_s']:,.0f} events/s"
    if "p50_ms" in sample:
        yield f"p50 {sample['p50_ms']:.1f} ms, p99 {sample['p99_ms']:.1f} ms"
    for part in ("service", "postgres", "generator", "floor"):
        if f"{part}_cpu_s" in sample:
            yield f"{part} {cpu_us_per_event(sample, part):.1f} us"
