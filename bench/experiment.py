"""What the scenarios share: one database, servers, rounds, and the samples that come of them."""

import contextlib
import importlib.util
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from bench import server as servers
from bench import traffic
from bench.database import Database
from bench.figures import cpu_us_per_event, others_cores
from bench.server import Server
from bench.traffic import Load, Sample

# Those of the service: service/config.py, flushes_max.
FLUSHES_PER_WORKER: Final = 2
# More than this and the machine is not ours to measure on; ratios within a round still hold.
BUSY_CORES: Final = 0.2
_EVENTS_TABLE: Final = {"service": "events", "naive": "naive.events"}

Step = Callable[[], None]


class Plan(NamedTuple):
    """How much of everything."""

    rounds: int = 5
    seconds: float = 5.0
    warmup: float = 1.5
    settings: dict[str, str] = {}  # noqa: RUF012 - never changed

    def load(self, connections: int, **further: Any) -> Load:
        """Return a load of this plan's length."""
        return Load(connections, seconds=self.seconds, warmup=self.warmup, **further)


class Experiment:
    """Takes samples, keeps them, and says how far it is."""

    def __init__(self, database: Database, plan: Plan) -> None:
        self.database = database
        self.plan = plan
        self.samples: list[Sample] = []
        self._started = time.monotonic()

    @property
    def has_peer(self) -> bool:
        """Whether the packages of the peer are installed."""
        return all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn"))

    def service(
        self, workers: int, *, request_log: bool = True
    ) -> contextlib.AbstractContextManager[Server]:
        """Run the service on the database."""
        settings = self.plan.settings
        return servers.service(
            self.database.url, workers, request_log=request_log, settings=settings
        )

    def http_floor(self, workers: int) -> contextlib.AbstractContextManager[Server]:
        """Run the bare HTTP server."""
        return servers.http_floor(workers)

    def naive_peer(self, workers: int) -> contextlib.AbstractContextManager[Server]:
        """Run the peer on the database."""
        return servers.naive_peer(self.database.url, workers)

    def alternating(self, steps: list[Step]) -> None:
        """Take all steps once a round, every second round backwards: drift then favours none."""
        for number in range(self.plan.rounds):
            for step in steps if number % 2 == 0 else reversed(steps):
                step()

    def send(
        self, server: Server, load: Load, labels: Sample, *, keeps_ledger: bool = False
    ) -> Sample:
        """
        Send *load*, add the figures to the samples, and return them.

        Raises
        ------
        LoadError
            Not everything was accepted, or what was accepted is not what is stored.
        """
        self.database.empty(keeps_ledger=keeps_ledger)
        flushes = Flushes(server)
        sample = traffic.send(server, self.database, load)
        traffic.require_sound(sample)
        table = _EVENTS_TABLE.get(labels["side"])
        if table is not None and (stored := self.database.stored(table)) != sample["accepted_ever"]:
            raise traffic.LoadError(f"{sample['accepted_ever']} events accepted, {stored} stored")
        sample["flush_rows"] = flushes.rows()
        sample["peak_rss_bytes"] = server.peak_rss_bytes()
        return self.add(labels | sample)

    def add_to_stored(self, server: Server, load: Load, labels: Sample) -> Sample:
        """
        Send *load* to the database as it is, add the figures to the samples, and return them.

        Raises
        ------
        LoadError
            Not everything was accepted.
        """
        sample = traffic.send(server, self.database, load)
        traffic.require_sound(sample)
        return self.add(labels | sample)

    def replay(self, flush_rows: int, workers: int, load: Load, labels: Sample) -> Sample:
        """Replay prebuilt flushes for as many workers, and add the figures to the samples."""
        self.database.empty()
        connections = workers * FLUSHES_PER_WORKER
        sample = traffic.replay(self.database, connections, flush_rows, load)
        return self.add({"side": "store_floor", "workers": workers} | labels | sample)

    def add(self, sample: Sample) -> Sample:
        """Keep a sample, and say so."""
        self.samples.append(sample)
        print(f"{time.monotonic() - self._started:6.0f} s  {_line(sample)}", flush=True)
        busy = others_cores(sample) if "others_cpu_s" in sample else 0.0
        if busy > BUSY_CORES:
            print(f"          {busy:.1f} cores were busy with other things meanwhile", flush=True)
        return sample


class Flushes:
    """How many rows the flushes of a service hold, by its own metrics."""

    def __init__(self, server: Server) -> None:
        self._url = server.metrics_url
        self._before = self._read()

    def rows(self) -> float | None:
        """Return the mean since this was made; None for what has no metrics."""
        rows, flushes = (
            after - before for after, before in zip(self._read(), self._before, strict=True)
        )
        return rows / flushes if flushes else None

    def _read(self) -> tuple[float, float]:
        if self._url is None:
            return 0.0, 0.0
        with urllib.request.urlopen(self._url) as answer:  # noqa: S310 - our own, http
            text = answer.read().decode()
        return _metric(text, "forebay_flush_rows_sum"), _metric(text, "forebay_flush_rows_count")


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _line(sample: Sample) -> str:
    """Say in one line what was measured and the figures that matter most."""
    labels = (
        *("scenario", "side", "phase", "workers", "request_log"),
        *("connections", "batch", "rate"),
    )
    said = [f"{name}={sample[name]}" for name in labels if sample.get(name) is not None]
    figures = list(_figures(sample))
    return " ".join(said) + "  ->  " + ", ".join(figures)


def _figures(sample: Sample) -> Iterator[str]:
    yield f"{sample['events_per_s']:,.0f} events/s"
    if "p50_ms" in sample:
        yield f"p50 {sample['p50_ms']:.1f} ms, p99 {sample['p99_ms']:.1f} ms"
    for part in ("service", "postgres", "generator", "floor"):
        if f"{part}_cpu_s" in sample:
            yield f"{part} {cpu_us_per_event(sample, part):.1f} us"
