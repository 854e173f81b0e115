"""
`make load`: start what is needed, let locust's users loose, say whether it will do.

With a URL it aims at that deployment, with the keys given, and stores its events there. Without, it
makes a PostgreSQL and a service of its own, and compares what was acknowledged with what is stored.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx

from bench.database import own_database
from bench.load.tally import Tally, failures, summary
from bench.server import ROOT, Server, service

LOCUST: Final = ROOT / ".venv/load/bin/locust"
_LAST_ANSWERS_S: Final = 15


def main() -> int:
    """Run, and return the exit code: 0 when the run will do, else 1."""
    options = _options()
    if not LOCUST.exists():
        sys.exit("load: locust is missing: run make load")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("load: told to stop"))
    options.reports.mkdir(parents=True, exist_ok=True)
    if options.url:
        tally = _send(options, options.url, options.keys.split())
        found = failures(tally)
    else:
        tally, found = _try_own(options)
    return _conclude(options.reports, tally, found)


def _try_own(options: argparse.Namespace) -> tuple[Tally, list[str]]:
    """Aim at a service of our own; return also what is wrong."""
    with own_database() as database, service(database.url, options.workers) as server:
        print(f"load: a service of its own, {len(database.keys)} tenants", flush=True)
        try:
            keys = [key.api_key for key in database.keys]
            tally = _send(options, f"http://{server.address}", keys)
        finally:
            shutil.copyfile(server.log, options.reports / "service.log")
        found = failures(tally, database.stored("events"))
        return tally, found if _is_ready(server) else ["the service is gone", *found]


def _is_ready(server: Server) -> bool:
    try:
        return httpx.get(f"http://{server.address}/health/ready").is_success
    except httpx.TransportError:
        return False


def _send(options: argparse.Namespace, url: str, keys: list[str]) -> Tally:
    """Let the users send until time is up."""
    counts = options.reports / "tally.json"
    counts.unlink(missing_ok=True)
    command = [str(LOCUST), "--headless", "--only-summary", "--loglevel", "WARNING"]
    command += ["--locustfile", str(ROOT / "bench/load/locustfile.py"), "--host", url]
    command += ["--users", str(options.users), "--spawn-rate", str(options.users)]
    command += ["--run-time", f"{options.duration}s", "--stop-timeout", str(_LAST_ANSWERS_S)]
    command += ["--html", str(options.reports / "report.html")]
    command += ["--csv", str(options.reports / "requests")]
    given = {"LOAD_KEYS": " ".join(keys), "LOAD_SECONDS": str(options.duration)}
    given |= {"LOAD_TALLY": str(counts), "PYTHONPATH": str(ROOT)}
    print(f"load: {options.users} users for {options.duration} s", flush=True)
    with subprocess.Popen(command, env=os.environ | given, cwd=ROOT) as users:
        # Ctrl-C reaches them too: they report what they have.
        signal.signal(signal.SIGINT, lambda *_: None)
        try:
            users.wait()
        finally:
            users.terminate()
    if not counts.exists():
        sys.exit("load: locust ended without a result")
    return Tally.read(counts)


def _conclude(reports: Path, tally: Tally, found: list[str]) -> int:
    for line in summary(tally):
        print(f"load: {line}")
    print(f"load: reports {reports / 'report.html'} and {reports}/requests_*.csv")
    for failure in found:
        print(f"load: FAILED: {failure}")
    if not found:
        print("load: ok")
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--duration", type=int, default=30, help="seconds")
    parser.add_argument("--workers", type=int, default=2, help="of the service of its own")
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
