"""
`python -m bench.write_path [NAME …]`: what a flush costs, written in one way or in another.

Each experiment prints a Markdown table; the records in docs/decisions hold those that decided.
Ratios are taken within a round, so that what else the machine does weighs on both sides.
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Final

from bench.database import Database, own_database
from bench.write_path import flushes, indexes, ledger, statements

EXPERIMENTS: Final[dict[str, Callable[[Database, float], str]]] = {
    "statements": statements.run,
    "ledger": ledger.run,
    "indexes": indexes.run,
    "flushes": flushes.run,
}


def main() -> int:
    """Run what was asked for, print the tables, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.write_path", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*EXPERIMENTS, []])
    parser.add_argument("--effort", type=float, default=1.0, help="times as many rounds")
    options = parser.parse_args()
    for name in options.names or EXPERIMENTS:
        with own_database() as database:
            about = f"PostgreSQL {database.version}, load average"
            print(f"{name}: {about} {os.getloadavg()[0]:.1f}", flush=True)
            found = EXPERIMENTS[name](database, options.effort)
            print(f"\n{found}\n\n{name}: ended at load average {os.getloadavg()[0]:.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
