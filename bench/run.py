"""
`python -m bench.run`: measure, and write the samples to bench/results.

Without names it runs all scenarios except the long ones. With --quick or --setting the figures are
only printed.
"""

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench.database import DEV_SETTINGS, SETTINGS, own_database
from bench.experiment import Experiment, LoadError, RunOptions, has_peer
from bench.figures import write_result
from bench.goals import goals_table
from bench.processes import ROOT, ServerError
from bench.scenarios import LONG_SCENARIOS, QUICK_SCENARIOS, SCENARIOS
from provision.errors import ProvisionError

# Scenarios that need other settings of PostgreSQL.
_DATABASE_SETTINGS: Final = {"tidying": DEV_SETTINGS}
_PACKAGES: Final = ("granian", "asyncpg", "msgspec", "uvloop")


def main() -> int:
    """Run the chosen scenarios; return the exit code."""
    options = _options()
    # Handled like Ctrl-C: processes are stopped, and the database is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if os.environ.pop("DATABASE_URL", None):
        print("DATABASE_URL is ignored: a benchmark writes only to a database of its own.")
    if not has_peer():
        print("The peer is left out, because its packages are missing: run make peers.")
    try:
        _measure(options)
    except (LoadError, ServerError, ProvisionError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


def _measure(options: argparse.Namespace) -> None:
    scenarios = SCENARIOS | LONG_SCENARIOS | (QUICK_SCENARIOS if options.quick else {})
    run_options = RunOptions(
        rounds=options.rounds or (1 if options.quick else 5),
        seconds=options.seconds or (2.0 if options.quick else 5.0),
        settings=dict(setting.split("=", 1) for setting in options.setting),
    )
    for name in options.scenarios or (QUICK_SCENARIOS if options.quick else SCENARIOS):
        settings = _DATABASE_SETTINGS.get(name, SETTINGS)
        with own_database(options.postgres_bin, settings) as database:
            experiment = Experiment(database, run_options)
            head: dict[str, Any] = {
                "scenario": name,
                "about": _about(database.value("SHOW server_version")),
                "postgresql_settings": settings,
                "rounds": run_options.rounds,
                "seconds": run_options.seconds,
            }
            scenarios[name](experiment)
            if table := goals_table(experiment.samples):
                print(f"\n{table}\n", flush=True)
            if not (options.quick or run_options.settings):
                write_result(head, experiment.samples)


def _about(postgresql_version: str) -> dict[str, Any]:
    """Return machine, versions and commit."""
    cpu_lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in cpu_lines if "model name" in line)
    version = importlib.metadata.version
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "is_changed": bool(_git("status", "--porcelain", "--", "service", "native", "migrations")),
        "cpu": next(models, platform.machine()),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "versions": {
            "forebay": version("forebay"),
            "python": platform.python_version(),
            "postgresql": postgresql_version,
            **{package: version(package) for package in _PACKAGES},
        },
    }


def _git(*arguments: str) -> str:
    if (git := shutil.which("git")) is None:
        return ""
    done = subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    names = [*SCENARIOS, *LONG_SCENARIOS]
    parser.add_argument("scenarios", nargs="*", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="one short round, figures printed")
    parser.add_argument("--rounds", type=int, help="samples of each kind; the median counts")
    parser.add_argument("--seconds", type=float, help="measured time of each sample")
    parser.add_argument("--postgres-bin", type=Path, help="folder of another PostgreSQL's programs")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="FOREBAY_NAME=VALUE",
        help="setting of the service, to compare",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
