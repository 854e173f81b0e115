"""
`make load`: start a service if needed, run locust's users, and check the result.

With a URL it sends to that deployment with the given keys, and its events are stored there.
Without, it starts a PostgreSQL and a service, and compares the acknowledged events with the stored
ones.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.database import own_database
from bench.load.tally import Tally, failures, summary
from bench.processes import ROOT, running

LOCUST: Final = ROOT / ".venv/load/bin/locust"
# Time after the end for the last answers.
_STOP_TIMEOUT_S: Final = 15


def main() -> int:
    """Run, and return the exit code: 0 when the result is good, else 1."""
    options = _options()
    if not LOCUST.exists():
        sys.exit("load: locust is missing: run make load")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("load: stopped"))
    options.reports.mkdir(parents=True, exist_ok=True)
    if options.url:
        tally, stored = _send(options, options.url, options.keys.split()), None
    else:
        tally, stored = _send_to_own_service(options)
    for line in summary(tally):
        print(f"load: {line}")
    print(f"load: reports {options.reports / 'report.html'} and {options.reports}/requests_*.csv")
    found = failures(tally, stored)
    for failure in found:
        print(f"load: FAILED: {failure}")
    if not found:
        print("load: ok")
    return 1 if found else 0


def _send_to_own_service(options: argparse.Namespace) -> tuple[Tally, int]:
    """Start a service, and send to it; return also how many events are stored."""
    with own_database() as database, running("service", 2, database.url) as server:
        print(f"load: a service of its own, {len(database.keys)} tenants", flush=True)
        try:
            keys = [key.api_key for key in database.keys]
            tally = _send(options, f"http://{server.address}", keys)
            server.wait_until_ready()
        finally:
            shutil.copyfile(server.log, options.reports / "service.log")
        return tally, database.stored()


def _send(options: argparse.Namespace, url: str, keys: list[str]) -> Tally:
    """Run the users until the time is up."""
    counts = options.reports / "tally.json"
    counts.unlink(missing_ok=True)
    command = [str(LOCUST), "--headless", "--only-summary", "--loglevel", "WARNING"]
    command += ["--locustfile", str(ROOT / "bench/load/locustfile.py"), "--host", url]
    command += ["--users", str(options.users), "--spawn-rate", str(options.users)]
    command += ["--run-time", f"{options.duration}s", "--stop-timeout", str(_STOP_TIMEOUT_S)]
    command += ["--html", str(options.reports / "report.html")]
    command += ["--csv", str(options.reports / "requests")]
    given = {"LOAD_KEYS": " ".join(keys), "LOAD_SECONDS": str(options.duration)}
    given |= {"LOAD_TALLY": str(counts), "PYTHONPATH": str(ROOT)}
    print(f"load: {options.users} users for {options.duration} s", flush=True)
    with subprocess.Popen(command, env=os.environ | given, cwd=ROOT) as users:
        # Ctrl-C reaches locust too, which then reports what it has.
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            users.wait()
        finally:
            users.terminate()
    if not counts.exists():
        sys.exit("load: locust ended without a result")
    return Tally.read(counts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--duration", type=int, default=30, help="seconds")
    parser.add_argument("--url", default="", help="a deployment; events are stored there")
    parser.add_argument("--keys", default="", help="API keys of that deployment, with blanks")
    parser.add_argument("--reports", type=Path, default=ROOT / "bench/reports/load")
    options = parser.parse_args()
    if bool(options.url) != bool(options.keys.split()):
        parser.error("a deployment needs both: its URL and KEYS")
    options.reports = options.reports.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
