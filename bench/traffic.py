"""Load, and what it cost whom: a program sends, and the CPU of all parts is read around it."""

import base64
import datetime as dt
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import processes
from bench.database import Database
from bench.server import ROOT, Server

_MANIFEST: Final = ROOT / "bench/generator/Cargo.toml"
_TARGET: Final = ROOT / "target/generator"
# Beyond what a program says it takes: opening connections, and the last answers.
_PATIENCE_S: Final = 60.0

_OTHERS: Final = "others"

Sample = dict[str, Any]
"""One run: its labels and its figures, as they go into the results."""

CpuClocks = Mapping[str, Callable[[], float]]
"""How to read the CPU time of each part."""


class LoadError(Exception):
    """The load was not what it should have been, so its figures mean nothing."""


class Load(NamedTuple):
    """What is sent."""

    connections: int
    batch: int = 1
    rate: float | None = None
    seconds: float = 5.0
    warmup: float = 1.5


@functools.cache
def build_generator() -> Path:
    """Build the generator, if need be, and return where it is."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(_TARGET)}
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path"]
    subprocess.run([*command, str(_MANIFEST)], check=True, env=environment)
    return _TARGET / "release/forebay-generator"


def send(server: Server, database: Database, load: Load) -> Sample:
    """Send *load* to *server* with the database's keys; return the figures of the run."""
    command = [str(build_generator()), "--address", server.address]
    for key in database.keys:
        basic = base64.b64encode(f"{key.api_key}:".encode()).decode()
        command += ["--key-header", f"Authorization: Basic {basic}"]
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    command += ["--time", now.replace("+00:00", "Z")]
    command += ["--connections", str(load.connections), "--batch", str(load.batch)]
    command += ["--warmup", str(load.warmup), "--seconds", str(load.seconds)]
    if load.rate is not None:
        command += ["--rate", str(load.rate)]
    clocks = {"service": server.cpu_s, "postgres": database.cpu_s}
    return watch(command, os.environ, clocks, "generator")


def replay(database: Database, connections: int, flush_rows: int, load: Load) -> Sample:
    """Let the bare store do what the service would have to; return the figures of the run."""
    command = [sys.executable, "-m", "bench.floors.store_floor"]
    command += ["--connections", str(connections), "--flush-rows", str(flush_rows)]
    command += ["--warmup", str(load.warmup), "--seconds", str(load.seconds)]
    environment = os.environ | database.environment
    return watch(command, environment, {"postgres": database.cpu_s}, "floor")


def watch(
    command: list[str], environment: Mapping[str, str], clocks: CpuClocks, name: str
) -> Sample:
    """
    Run a program that says `begin` and `end` and then its figures; add the CPU time in between.

    *clocks* are read beside the program's own, which is called *name*.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        own = {name: lambda: processes.cpu_s(program.pid), _OTHERS: processes.machine_cpu_s}
        _expect(program, "begin")
        before, begun = _read({**clocks, **own})
        _expect(program, "end")
        after, ended = _read({**clocks, **own})
        program.stdin.close()  # it may end now
        figures: Sample = json.loads(program.stdout.readline() or "{}")
    if program.returncode or not figures:
        raise LoadError(f"{command[0]} failed with exit code {program.returncode}")
    used = {part: after[part] - before[part] for part in after}
    # The whole machine without ours: with much of it, events a second say more of them than of us.
    machine = used.pop(_OTHERS)
    used[_OTHERS] = max(machine - sum(used.values()), 0.0)
    return figures | {f"{part}_cpu_s": s for part, s in used.items()} | {"watched_s": ended - begun}


def require_sound(sample: Sample) -> None:
    """
    Refuse the figures of a run in which something was not accepted.

    Raises
    ------
    LoadError
        An answer was not 200, an event was not accepted, or an answer never came.
    """
    wrong = {
        "statuses": {s: n for s, n in sample["statuses"].items() if s != "200"},
        **{name: sample[name] for name in ("duplicates", "rejected", "broken", "unanswered")},
    }
    if any(wrong.values()):
        raise LoadError(f"the run was not clean: {json.dumps(wrong)}")


def _expect(program: "subprocess.Popen[str]", word: str) -> None:
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    if line != word:
        program.kill()
        raise LoadError(f"{program.args!r} said {line!r} instead of {word}")


def _read(clocks: CpuClocks) -> tuple[dict[str, float], float]:
    """Return the CPU times, and when in the middle of reading them it was."""
    started = time.monotonic()
    times = {part: clock() for part, clock in clocks.items()}
    return times, (started + time.monotonic()) / 2
