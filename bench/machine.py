"""Where and with what a benchmark ran, for its results; and whether it may run at all."""

import datetime as dt
import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.server import ROOT
from service import _native

_PACKAGES: Final = ("granian", "asyncpg", "msgspec", "uvloop")


def describe(postgres: str) -> dict[str, Any]:
    """Return machine, versions and commit."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "is_changed": bool(_git("status", "--porcelain", "--", "service", "native", "migrations")),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "versions": {
            "forebay": _native.__version__,
            "python": platform.python_version(),
            "postgresql": postgres,
            **{package: version(package) for package in _PACKAGES},
        },
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
