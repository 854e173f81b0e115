"""Scenarios: each takes samples of one kind of load."""

import itertools
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from bench.events import RequestMaker
from bench.experiment import Experiment, Load, LoadError, Step, has_peer
from bench.figures import Sample, median
from bench.processes import ROOT, ServerProcess

BATCH_EVENTS: Final = 50
WORKERS: Final = (1, 2)
# With the first number the service waits for its senders, with the second it does not.
BATCH_CONNECTIONS: Final = (32, 128)
SINGLE_CONNECTIONS: Final = {1: (1, 8, 32, 64, 128), 2: (32, 128)}
"""By workers."""
PEER_CONNECTIONS: Final = (32,)
SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the peak in a closed loop."""
HALF: Final = 0.5
LEDGER_IDS: Final = tuple(range(0, 5_000_001, 1_000_000))
_PEAK_CONNECTIONS: Final = 64
_TIDYING_CONNECTIONS: Final = 4
_MEMORY_SAMPLES: Final = 120
_WRK_REQUESTS: Final = 1_000
_WRK_UNITS_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def batches(experiment: Experiment) -> None:
    """Batches: service, store floor and peer, with one and with two workers."""
    for workers in WORKERS:
        labels = {"scenario": "batches", "workers": workers}
        # The service first, because the floor replays flushes of the same size.
        sent = (BATCH_CONNECTIONS, BATCH_EVENTS)
        steps: list[Step] = [partial(_send_all, experiment, labels | {"side": "service"}, *sent)]
        steps.append(partial(_store_floor, experiment, labels))
        if has_peer():
            steps.append(partial(_send_all, experiment, labels | {"side": "naive"}, *sent))
        experiment.alternate(steps)


def _send_all(
    experiment: Experiment, labels: Sample, counts: tuple[int, ...], batch: int = 1
) -> None:
    """Start the server of a side, and take a sample for each number of connections."""
    request_log = labels.get("request_log", True)
    with experiment.server(labels["side"], labels["workers"], request_log=request_log) as server:
        for connections in counts:
            experiment.send(server, experiment.options.load(connections, batch=batch), labels)


def _store_floor(experiment: Experiment, labels: Sample) -> None:
    for connections in BATCH_CONNECTIONS:
        at = labels | {"connections": connections}
        rows = median(experiment.samples, "flush_rows", side="service", **at)
        assert rows is not None
        experiment.replay(round(rows), at, experiment.options.load(connections))


def singles(
    experiment: Experiment, by_workers: dict[int, tuple[int, ...]] = SINGLE_CONNECTIONS
) -> None:
    """Single events: bare HTTP server, service with and without its request log, and peer."""
    for workers, connections in by_workers.items():
        labels = {"scenario": "singles", "workers": workers}
        sides: list[tuple[Sample, tuple[int, ...]]] = [
            ({"side": "http_floor"}, connections),
            ({"side": "service", "request_log": False}, connections),
            ({"side": "service", "request_log": True}, connections),
        ]
        if has_peer():
            sides.append(({"side": "naive"}, PEER_CONNECTIONS))
        experiment.alternate(
            [partial(_send_all, experiment, labels | side, counts) for side, counts in sides]
        )


def latency(experiment: Experiment, shares: tuple[float, ...] = SHARES) -> None:
    """Single events: the peak in a closed loop, then shares of it at a constant rate."""
    for workers in WORKERS:
        experiment.alternate([partial(_latency, experiment, workers, shares)])


def _latency(experiment: Experiment, workers: int, shares: tuple[float, ...]) -> None:
    labels = {"scenario": "latency", "side": "service", "workers": workers}
    load = experiment.options.load(_PEAK_CONNECTIONS)
    with experiment.server("service", workers) as server:
        peak = experiment.send(server, load, labels | {"share": 1.0})["requests_per_s"]
        for share in shares:
            at_rate = load._replace(rate=round(peak * share, 1))
            experiment.send(server, at_rate, labels | {"share": share})


def peaks(experiment: Experiment) -> None:
    """Peaks by our generator in a closed loop, and by wrk where it is installed."""
    tools: dict[str, Callable[[Experiment, ServerProcess, Load, Sample], object]]
    tools = {"closed loop": Experiment.send}
    if shutil.which("wrk"):
        tools["wrk"] = _wrk
    else:
        print("wrk is not installed (apt-get install wrk): only our own generator is used.")
    experiment.alternate(
        [
            partial(_peak, experiment, batch, tool, send)
            for batch in (1, BATCH_EVENTS)
            for tool, send in tools.items()
        ]
    )


def _peak(experiment: Experiment, batch: int, tool: str, send: Callable[..., object]) -> None:
    labels = {"scenario": "peaks", "side": "service", "workers": 2, "tool": tool}
    with experiment.server("service", 2) as server:
        send(experiment, server, experiment.options.load(_PEAK_CONNECTIONS, batch=batch), labels)


def _wrk(experiment: Experiment, server: ServerProcess, load: Load, labels: Sample) -> None:
    experiment.database.empty()
    maker = RequestMaker(server.address, [experiment.database.keys[0].api_key], load.batch)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(maker.next() for _ in range(_WRK_REQUESTS // load.batch)))
        file.flush()
        command = ["wrk", "--threads", "1", "--connections", str(load.connections), "--latency"]
        command += ["--duration", f"{max(round(load.seconds), 1)}s", "--timeout", "30s"]
        command += ["--script", str(ROOT / "bench/wrk.lua"), f"http://{server.address}"]
        command += ["--", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    sample = labels | read_wrk(done.stdout)
    sample |= {"connections": load.connections, "batch": load.batch}
    experiment.add(sample | {"events_per_s": sample["requests_per_s"] * load.batch})


def read_wrk(text: str) -> Sample:
    """
    Return the figures in the output of wrk.

    Raises
    ------
    LoadError
        An answer was not 200, or the output has no figures.
    """
    if fault := re.search(r"(Non-2xx|Socket errors).*", text):
        raise LoadError(f"wrk: {fault[0]}")
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    if rate is None:
        raise LoadError(f"wrk printed no figures: {text}")
    latencies = re.findall(r"^\s+(50|90|99)%\s+([\d.]+)(\w+)", text, re.MULTILINE)
    return {"requests_per_s": float(rate[1])} | {
        f"p{share}_ms": float(latency) * _WRK_UNITS_MS[unit] for share, latency, unit in latencies
    }


def tidying(experiment: Experiment) -> None:
    """Single events on a new database, and right after a heavy load: checkpoint, autovacuum."""
    options = experiment.options
    labels: Sample = {"scenario": "tidying", "side": "service", "workers": 2}
    # Four times as long as a sample, so that a checkpoint or an autovacuum follows.
    heavy = Load(32, batch=BATCH_EVENTS, seconds=options.seconds * 4)
    few = options.load(_TIDYING_CONNECTIONS)
    with experiment.server("service", 2) as server:
        for _ in range(options.rounds):
            experiment.send(server, few, labels | {"phase": "fresh"})
            experiment.send(server, heavy, labels | {"phase": "load"}, empty_first=False)
            for _ in range(3):
                # Without a warm-up, because the first seconds after the load are to be measured.
                at_once = few._replace(warmup=0.0)
                experiment.send(server, at_once, labels | {"phase": "after"}, empty_first=False)


def growth(experiment: Experiment) -> None:
    """Batches as the ledger grows, and once more with an empty ledger. A long scenario."""
    _growth(experiment, 0, is_again=False)
    for before, ids in itertools.pairwise(LEDGER_IDS):
        experiment.database.fill_ledger(before, ids)
        _growth(experiment, ids, is_again=False)
    experiment.database.empty()
    _growth(experiment, 0, is_again=True)


def _growth(experiment: Experiment, ids: int, *, is_again: bool) -> None:
    load = experiment.options.load(min(BATCH_CONNECTIONS), batch=BATCH_EVENTS)
    labels = {"scenario": "growth", "side": "service", "workers": 2}
    labels |= {"ledger_ids": ids, "is_again": is_again}
    with experiment.server("service", 2) as server:
        for _ in range(experiment.options.rounds):
            experiment.database.shrink_ledger(ids)
            experiment.send(server, load, labels, keep_ledger=True)


def memory(experiment: Experiment) -> None:
    """Ten minutes of batches, and the memory of the largest worker. A long scenario."""
    # A multiple of a sample's length, so that --seconds shortens this scenario too.
    seconds = experiment.options.seconds * _MEMORY_SAMPLES
    load = experiment.options.load(min(BATCH_CONNECTIONS), batch=BATCH_EVENTS, seconds=seconds)
    with (
        experiment.server("service", 2) as server,
        _memory_watched(server, seconds / _MEMORY_SAMPLES) as rss_bytes,
    ):
        labels = {"scenario": "memory", "side": "service", "workers": 2}
        sample = experiment.send(server, load, labels)
    sample["rss_bytes"] = rss_bytes


@contextmanager
def _memory_watched(server: ServerProcess, interval_s: float) -> Iterator[list[int]]:
    """Append the memory of the largest process to the list, once per interval."""
    seen: list[int] = []
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(interval_s):
            seen.append(server.rss_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()


Scenario = Callable[[Experiment], Any]

SCENARIOS: Final[dict[str, Scenario]] = {
    "batches": batches,
    "singles": singles,
    "latency": latency,
    "peaks": peaks,
    "tidying": tidying,
}
LONG_SCENARIOS: Final[dict[str, Scenario]] = {"growth": growth, "memory": memory}
QUICK_SCENARIOS: Final[dict[str, Scenario]] = {
    "batches": batches,
    "singles": lambda experiment: singles(experiment, {1: (32, 128)}),
    "latency": lambda experiment: latency(experiment, (HALF,)),
}
