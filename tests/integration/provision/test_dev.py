"""
`forebay dev`: from an empty folder to a stored event, and stopped in order.

If these tests fail: a developer cannot try Forebay, loses stored events, or has processes left
running.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from provision import postgres

from .conftest import command_environment

Dev = subprocess.Popen[str]
StartDev = Callable[..., Dev]
FIELDS = ["url", "metrics_url", "api_key", "database_url"]


@pytest.fixture
def start_dev(open_folder: Path) -> Iterator[StartDev]:
    """Start `forebay dev` in the folder; whatever still runs at the end is stopped."""
    started: list[Dev] = []

    def start(*arguments: str, **variables: str) -> Dev:
        dev = subprocess.Popen(
            [sys.executable, "-m", "provision.forebay", "dev", "--workers", "1", *arguments],
            cwd=open_folder,
            # What a killed service leaves behind goes with the folder.
            env=command_environment(TMPDIR=str(open_folder), **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(dev)
        return dev

    yield start
    for dev in started:
        dev.terminate()
        dev.communicate()


def free_port() -> str:
    return str(postgres.free_port())


def running(dev: Dev) -> dict[str, str]:
    assert dev.stdout is not None
    line = dev.stdout.readline()
    assert line, dev.communicate()
    answer: dict[str, str] = json.loads(line)
    return answer


def track(url: str, api_key: str) -> Any:
    request = urllib.request.Request(
        f"{url}/v1/track",
        data=b'{"event": "Tried", "user_id": "me"}',
        headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def is_listening(database_url: str) -> bool:
    port = database_url.rpartition(":")[2].partition("/")[0]
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


async def count_events(database_url: str) -> Any:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval("SELECT count(*) FROM events")
    finally:
        connection.terminate()


async def revoke_keys(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE api_keys SET revoked_at = now()")
    connection.terminate()


def stop(dev: Dev) -> None:
    dev.terminate()
    dev.communicate()
    assert 0 == dev.returncode


def test_the_printed_key_works_only_one_dev_runs_and_data_stays(
    start_dev: StartDev, open_folder: Path
) -> None:
    dev = start_dev("--port", free_port())
    assert dev.stdout is not None
    commands: dict[str, str] = {}
    for line in dev.stdout:
        text = line.strip()
        if text.startswith(("curl ", "DATABASE_URL=")):
            commands[text.partition(" ")[0].partition("=")[0]] = text
        if text.startswith("Ctrl-C"):
            break
    for name, expected in (("curl", '"status":"accepted"'), ("DATABASE_URL", "Tried Forebay")):
        # From another folder, as in another terminal.
        done = subprocess.run(
            ["sh", "-c", commands[name]],
            cwd="/",
            env=command_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in done.stdout.replace('": "', '":"')

    second = start_dev("--json", "--port", free_port())
    output, errors = second.communicate()
    assert (1, "") == (second.returncode, output)
    assert "another `forebay dev` runs on" in errors
    assert 1 == errors.count("\n")

    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        dev.send_signal(number)
    dev.communicate()
    log = next(open_folder.rglob("postgres.log")).read_text()
    assert 0 == dev.returncode
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log

    dev = start_dev("--json", "--port", free_port())
    again = running(dev)
    assert FIELDS == list(again)
    assert again["api_key"] in commands["curl"]
    assert 1 == asyncio.run(count_events(again["database_url"]))
    dev.send_signal(signal.SIGINT)
    rest, _ = dev.communicate()
    assert (0, "") == (dev.returncode, rest)
    assert not is_listening(again["database_url"])


def test_leftovers_of_a_killed_dev_are_replaced_and_a_dead_service_stops_dev(
    start_dev: StartDev,
) -> None:
    ports = {"FOREBAY_PORT": free_port(), "FOREBAY_METRICS_PORT": free_port()}
    dev = start_dev("--json", **ports)
    first = running(dev)
    track(first["url"], first["api_key"])
    dev.kill()
    dev.wait()  # its pipes stay open in the service

    dev = start_dev("--json", **ports)
    second = running(dev)
    assert first["url"] == second["url"]
    assert "accepted" == track(second["url"], second["api_key"])["status"]
    assert 2 == asyncio.run(count_events(second["database_url"]))
    assert not is_listening(first["database_url"])

    children = Path(f"/proc/{dev.pid}/task/{dev.pid}/children").read_text().split()
    service = next(
        pid for pid in children if b"service" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(int(service), signal.SIGKILL)
    _, errors = dev.communicate()
    assert 1 == dev.returncode
    assert "the service was ended by SIGKILL" in errors
    assert not is_listening(second["database_url"])
    assert not is_listening(second["url"] + "/")


def test_a_taken_port_is_one_line_before_anything_starts(
    start_dev: StartDev, open_folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        dev = start_dev("--json", "--port", port)
        output, errors = dev.communicate()

    assert (1, "") == (dev.returncode, output)
    assert 1 == errors.count("\n")
    assert f"port {port}" in errors
    assert "--port or FOREBAY_PORT" in errors
    assert not (open_folder / ".forebay" / "postgres").exists()


def test_a_wrong_setting_is_named(start_dev: StartDev) -> None:
    dev = start_dev("--json", FOREBAY_WORKERS="many", FOREBAY_DRAIN_TIMEOUT_S="0")
    _, errors = dev.communicate()

    assert 1 == dev.returncode
    assert "FOREBAY_DRAIN_TIMEOUT_S" in errors


def test_a_given_database_is_used_and_marked_and_a_revoked_demo_key_is_replaced(
    start_dev: StartDev, bare_database_url: str, open_folder: Path
) -> None:
    keys = []
    for _ in range(2):  # the second time it has tables, and the mark
        dev = start_dev("--json", "--port", free_port(), DATABASE_URL=bare_database_url)
        answer = running(dev)
        assert "accepted" == track(answer["url"], answer["api_key"])["status"]
        assert bare_database_url == answer["database_url"]
        keys.append(answer["api_key"])
        stop(dev)
        asyncio.run(revoke_keys(bare_database_url))

    assert 2 == len(set(keys))
    assert 2 == asyncio.run(count_events(bare_database_url))
    assert not (open_folder / ".forebay" / "postgres").exists()


def test_a_database_with_tables_is_refused(start_dev: StartDev, database_url: str) -> None:
    dev = start_dev("--json", "--port", free_port(), DATABASE_URL=database_url)
    output, errors = dev.communicate()

    assert (1, "") == (dev.returncode, output)
    assert "holds tables and is not marked as a dev database" in errors
    assert 1 == errors.count("\n")
