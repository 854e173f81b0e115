"""
`python -m bench.flood`: how an honest client fares while strangers without a key attack.

Prints a table: its latency during each attack beside the latency before it, the memory of a worker,
and how long a stop of the service takes. `--save` keeps it for the page.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import math
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bench.attacks import HEAD, Attack, Latency, save
from bench.database import SETTINGS, BenchDatabase, own_database
from bench.guesses import guessing
from bench.processes import ServerError, ServerProcess, running
from bench.strangers import Strangers

WORKERS: Final = 2
ATTACKS: Final = {
    "idle": 6_000,
    "headers": 2_000,
    "body": 6_000,
    "unread": 1_000,
    "blocked": 100,
    "gzip": 3_500,
    "plain": 1_500,
    "made-up": 1_500,
    "guesses": 300,
}
"""How many connections of each kind strangers open. See `Strangers`, and `guessing`."""
# Of 300, the 99th percentile was that of the first second of an attack.
_REQUESTS: Final = 1_000
_TIMEOUT_S: Final = 10.0
_FAILURES_MAX: Final = 3
_SETTLE_S: Final = 1.0
# After this time the service has given the memory of an attack back.
_REST_S: Final = 10.0
_OK: Final = 200


def main() -> int:
    """Run the attacks; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    for name, count in ATTACKS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help="connections; 0: none")
    parser.add_argument("--setting", action="append", default=[], metavar="FOREBAY_NAME=VALUE")
    parser.add_argument("--save", choices=("before", "now"), help="keep them for bench/README.md")
    options = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in options.setting)
    counts = {name: getattr(options, name.replace("-", "_")) for name in ATTACKS}
    print(f"| attack | {' | '.join(HEAD)} |")
    print("| --- " * (len(HEAD) + 1) + "|")
    attacks: list[Attack] = []
    try:
        with own_database(None, SETTINGS) as database:
            for name, count in counts.items():
                if count:
                    attacks.append(_attack(database, name, count, settings))
                    print(f"| {count:,} {name} | {' | '.join(attacks[-1].row())} |", flush=True)
    except ServerError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    if options.save:
        save(options.save, attacks)
    return 0


def _attack(database: BenchDatabase, name: str, count: int, settings: dict[str, str]) -> Attack:
    with running("service", WORKERS, database.url, settings=settings) as server:
        _latency(server, database)
        mb_before = server.rss_bytes() / 1e6
        before = _latency(server, database)
        with _attacking(server, name, count):
            during = _latency(server, database)
            mb_highest = server.rss_bytes("VmHWM:") / 1e6
        time.sleep(_REST_S)
        mb_after = server.rss_bytes() / 1e6
        with _attacking(server, name, count):
            started = time.monotonic()
            server.stop()
            stop_s = time.monotonic() - started
    return Attack(name, count, before, during, mb_before, mb_highest, mb_after, stop_s)


@contextlib.contextmanager
def _attacking(server: ServerProcess, name: str, count: int) -> Iterator[None]:
    port = int(server.address.rpartition(":")[2])
    if name == "guesses":
        with guessing(port, count):
            time.sleep(_SETTLE_S)
            yield
        return
    crowd = Strangers(port)
    try:
        asyncio.run(crowd.open(name, count))
        time.sleep(_SETTLE_S)
        # What counts is that they hold connections, not the requests that they have sent.
        server.wait_until_ready()
        yield
    finally:
        crowd.close()


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
