"""
`python -m bench.flood`: how an honest client fares while strangers hold connections.

Prints a table: its latency during each attack beside the latency before it, and how long a stop of
the service takes.
"""

import argparse
import asyncio
import http.client
import json
import math
import secrets
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bench.database import SETTINGS, BenchDatabase, own_database
from bench.processes import ServerError, ServerProcess, process_tree, rss_bytes, running
from bench.strangers import Strangers

WORKERS: Final = 2
ATTACKS: Final = {"idle": 6_000, "headers": 2_000, "body": 6_000, "unread": 1_000, "blocked": 100}
"""How many connections of each kind strangers open. See `Strangers`."""
_REQUESTS: Final = 300
_TIMEOUT_S: Final = 10.0
_FAILURES_MAX: Final = 3
_SETTLE_S: Final = 1.0
_OK: Final = 200


class Latency(NamedTuple):
    """Latency of the requests of an honest client, in ms."""

    p50_ms: float
    p99_ms: float
    failed: int


def main() -> int:
    """Run the attacks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    for name, count in ATTACKS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help="connections; 0: none")
    parser.add_argument("--setting", action="append", default=[], metavar="FOREBAY_NAME=VALUE")
    options = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in options.setting)
    print("| attack | p50 ms before, during | p99 ms before, during | refused | MB | stop s |")
    print("| --- | --- | --- | --- | --- | --- |")
    try:
        with own_database(None, SETTINGS) as database:
            for name in ATTACKS:
                if count := getattr(options, name):
                    print(f"| {count:,} {name} {_row(database, name, count, settings)}", flush=True)
    except ServerError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return 0


def _row(database: BenchDatabase, name: str, count: int, settings: dict[str, str]) -> str:
    with running("service", WORKERS, database.url, settings=settings) as server:
        _latency(server, database)
        before = _latency(server, database)
        crowd = Strangers(int(server.address.rpartition(":")[2]))
        try:
            asyncio.run(crowd.open(name, count))
            # What counts is that they hold connections, not the requests that they have sent.
            time.sleep(_SETTLE_S)
            server.wait_until_ready()
            during = _latency(server, database)
            memory = max(rss_bytes(pid) for pid in process_tree(server.pid)) / 1e6
            started = time.monotonic()
            server.stop()
            stop_s = time.monotonic() - started
        finally:
            crowd.close()
    return (
        f"| {before.p50_ms:.1f}, {during.p50_ms:.1f} | {before.p99_ms:.1f}, {during.p99_ms:.1f}"
        f" | {during.failed} | {memory:.0f} | {stop_s:.1f} |"
    )


def _latency(server: ServerProcess, database: BenchDatabase) -> Latency:
    """Send one event after another, each third one on a new connection."""
    times: list[float] = []
    failed = 0
    connection = http.client.HTTPConnection(server.address, timeout=_TIMEOUT_S)
    for number in range(_REQUESTS):
        if number % 3 == 0:
            connection.close()
        started = time.monotonic()
        try:
            failed += _send(connection, database.keys[0]) != _OK
        except (OSError, http.client.HTTPException):
            connection.close()
            failed += 1
        times.append((time.monotonic() - started) * 1000)
        if failed >= _FAILURES_MAX and min(times) > _TIMEOUT_S * 1000:
            break
    connection.close()
    return Latency(_percentile(times, 0.5), _percentile(times, 0.99), failed)


def _send(connection: http.client.HTTPConnection, key: Any) -> int:
    event = {"event": "Order Completed", "user_id": "u1", "event_id": secrets.token_hex(8)}
    headers = {"Authorization": f"Bearer {key.api_key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/track", json.dumps(event), headers)
    response = connection.getresponse()
    response.read()
    return response.status


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(len(values) * share) - 1]


if __name__ == "__main__":
    sys.exit(main())
