"""
`python -m bench.run`: measure, and leave the samples in bench/results.

Without names it is all but the long forms. With --quick or --setting the figures are only printed.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import archive, machine, tables
from bench.database import (
    DEV_SETTINGS,
    SETTINGS,
    ForeignDatabaseError,
    Settings,
    own_database,
)
from bench.experiment import Experiment, Plan
from bench.scenarios import batches, growth, latency, memory, peaks, singles, tidying
from bench.server import ServerError
from bench.traffic import LoadError, build_generator
from provision.errors import ProvisionError

Scenario = Callable[[Experiment], None]

SCENARIOS: Final[dict[str, Scenario]] = {
    batches.NAME: batches.run,
    singles.NAME: singles.run,
    latency.NAME: latency.run,
    peaks.NAME: peaks.run,
    tidying.NAME: tidying.run,
}
# Settings of PostgreSQL that a scenario needs in place of those of all others.
_DATABASE_SETTINGS: Final[dict[str, Settings]] = {tidying.NAME: DEV_SETTINGS}
LONG_FORMS: Final[dict[str, Scenario]] = {growth.NAME: growth.run, memory.NAME: memory.run}
# What is said in one sentence; anything else is a fault of the benchmark.
_FAULTS: Final = (ForeignDatabaseError, LoadError, ServerError, ProvisionError)
_QUICK: Final[dict[str, Scenario]] = {
    batches.NAME: batches.run,
    singles.NAME: lambda experiment: singles.run(experiment, {1: (32, 128)}),
    latency.NAME: lambda experiment: latency.run(experiment, (latency.HALF,)),
}


def main() -> int:
    """Measure what was asked for; return the exit code."""
    options = _options()
    # As Ctrl-C: what was started is stopped, and the database removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if os.environ.pop("DATABASE_URL", None):
        print("DATABASE_URL is not used: a benchmark writes only to a database of its own.")
    try:
        build_generator()
        _measure(options)
    except _FAULTS as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


def _measure(options: argparse.Namespace) -> None:
    scenarios = SCENARIOS | LONG_FORMS | (_QUICK if options.quick else {})
    chosen = options.scenarios or list(_QUICK if options.quick else SCENARIOS)
    plan = _plan(options)
    for name in chosen:
        settings = _DATABASE_SETTINGS.get(name, SETTINGS)
        with own_database(options.postgres_bin, settings) as database:
            about = machine.describe(database.version)
            experiment = Experiment(database, plan)
            if not experiment.has_peer:
                print("The peer is left out, its packages are missing: run make peers.")
            scenarios[name](experiment)
            if shown := tables.goals_table(experiment.samples):
                print(f"\n{shown}\n", flush=True)
            # Quick figures and those of other settings are looked at, not kept.
            if not (options.quick or plan.settings):
                head = {"scenario": name, "about": about, "postgresql_settings": settings}
                head |= {"rounds": plan.rounds, "seconds": plan.seconds}
                archive.write(head, experiment.samples)


def _plan(options: argparse.Namespace) -> Plan:
    rounds = options.rounds or (1 if options.quick else 5)
    seconds = options.seconds or (2.0 if options.quick else 5.0)
    settings = dict(setting.split("=", 1) for setting in options.setting)
    return Plan(rounds=rounds, seconds=seconds, settings=settings)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    names = [*SCENARIOS, *LONG_FORMS]
    parser.add_argument("scenarios", nargs="*", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="one short round, figures printed")
    parser.add_argument("--rounds", type=int, help="samples of each, the median counts")
    parser.add_argument("--seconds", type=float, help="measured time of each sample")
    parser.add_argument("--postgres-bin", type=Path, help="folder of another PostgreSQL's programs")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="FOREBAY_NAME=VALUE",
        help="of the service, to compare",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
