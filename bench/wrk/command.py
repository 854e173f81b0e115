"""A second opinion on peaks, from a load generator that everybody knows, where it is installed."""

import re
import shutil
import subprocess
from typing import Final

from bench.database import Database
from bench.server import ROOT, Server
from bench.traffic import Load, LoadError, Sample

_SCRIPT: Final = ROOT / "bench/wrk/events.lua"
_SHARES: Final = (50, 90, 99)
_UNITS_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def is_installed() -> bool:
    """Whether there is a wrk to run."""
    return shutil.which("wrk") is not None


def send(server: Server, database: Database, load: Load) -> Sample:
    """
    Send *load* with wrk; return its figures.

    Raises
    ------
    LoadError
        Not every answer was 200.
    """
    command = ["wrk", "--threads", "1", "--connections", str(load.connections), "--latency"]
    command += ["--duration", f"{max(round(load.seconds), 1)}s", "--timeout", "30s"]
    command += ["--script", str(_SCRIPT), f"http://{server.address}"]
    command += ["--", database.keys[0].api_key, str(load.batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return read(done.stdout) | {"connections": load.connections, "batch": load.batch}


def read(text: str) -> Sample:
    """
    Read what wrk prints.

    Raises
    ------
    LoadError
        Not every answer was 200.
    """
    if fault := re.search(r"(Non-2xx|Socket errors).*", text):
        raise LoadError(f"wrk: {fault[0]}")
    found = {
        name: re.search(rf"^\s+{name}%\s+([\d.]+)(\w+)", text, re.MULTILINE) for name in _SHARES
    }
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    if rate is None:
        raise LoadError(f"wrk says nothing that can be read: {text}")
    latencies = {
        f"p{share}_ms": float(match[1]) * _UNITS_MS[match[2]]
        for share, match in found.items()
        if match
    }
    return {"requests_per_s": float(rate[1])} | latencies
