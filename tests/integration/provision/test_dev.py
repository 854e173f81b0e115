"""`forebay dev`, whole: from an empty folder to a stored event, and down again in order."""

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


async def test_events_are_stored_and_found_again_at_the_next_start(start_dev: StartDev) -> None:
    dev = start_dev("--json", "--port", free_port())
    first = running(dev)
    answer = track(first["url"], first["api_key"])
    dev.send_signal(signal.SIGINT)
    rest, _ = dev.communicate()

    assert FIELDS == list(first)
    assert "accepted" == answer["status"]
    assert (0, "") == (dev.returncode, rest)
    assert not is_listening(first["database_url"])

    dev = start_dev("--json", "--port", free_port())
    second = running(dev)

    assert first["api_key"] == second["api_key"]
    assert 1 == await count_events(second["database_url"])
    dev.terminate()
    dev.communicate()
    assert 0 == dev.returncode


def test_what_it_prints_works_when_pasted(start_dev: StartDev) -> None:
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


def test_many_signals_stop_it_once_and_in_order(start_dev: StartDev, open_folder: Path) -> None:
    dev = start_dev("--json", "--port", free_port())
    running(dev)

    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        dev.send_signal(number)
    dev.communicate()

    log = next(open_folder.rglob("postgres.log")).read_text()
    assert 0 == dev.returncode
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log


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
    assert not (open_folder / ".forebay").exists()


def test_a_second_one_on_the_same_folder_is_told_so(start_dev: StartDev) -> None:
    running(start_dev("--json", "--port", free_port()))

    second = start_dev("--json", "--port", free_port())
    output, errors = second.communicate()

    assert (1, "") == (second.returncode, output)
    assert "another `forebay dev` runs on" in errors
    assert 1 == errors.count("\n")


async def test_what_a_killed_one_left_is_taken_over_at_the_next_start(start_dev: StartDev) -> None:
    ports = {"FOREBAY_PORT": free_port(), "FOREBAY_METRICS_PORT": free_port()}
    dev = start_dev("--json", **ports)
    first = running(dev)
    track(first["url"], first["api_key"])
    dev.kill()
    dev.wait()  # its pipes live on in the service

    dev = start_dev("--json", **ports)
    second = running(dev)
    assert "accepted" == track(second["url"], second["api_key"])["status"]
    assert 2 == await count_events(second["database_url"])
    dev.terminate()
    dev.communicate()

    assert first["url"] == second["url"]
    assert 0 == dev.returncode
    assert not is_listening(second["database_url"])
    assert not is_listening(second["url"] + "/")


def test_a_service_that_dies_takes_everything_down(start_dev: StartDev) -> None:
    dev = start_dev("--json", "--port", free_port())
    answer = running(dev)
    children = Path(f"/proc/{dev.pid}/task/{dev.pid}/children").read_text().split()
    service = next(
        pid for pid in children if b"service" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )

    os.kill(int(service), signal.SIGKILL)
    _, errors = dev.communicate()

    assert 1 == dev.returncode
    assert "the service was ended by SIGKILL" in errors
    assert not is_listening(answer["database_url"])


def test_a_wrong_setting_is_named(start_dev: StartDev) -> None:
    dev = start_dev("--json", FOREBAY_WORKERS="many", FOREBAY_DRAIN_TIMEOUT_S="0")
    _, errors = dev.communicate()

    assert 1 == dev.returncode
    assert "FOREBAY_DRAIN_TIMEOUT_S" in errors


async def test_a_given_database_is_used_and_marked(
    start_dev: StartDev, bare_database_url: str, open_folder: Path
) -> None:
    for _ in range(2):  # the second time it holds tables, and the mark
        dev = start_dev("--json", "--port", free_port(), DATABASE_URL=bare_database_url)
        answer = running(dev)
        track(answer["url"], answer["api_key"])
        dev.terminate()
        dev.communicate()

        assert 0 == dev.returncode
        assert bare_database_url == answer["database_url"]

    assert 2 == await count_events(bare_database_url)
    assert not (open_folder / ".forebay" / "postgres").exists()


def test_a_database_that_holds_tables_is_left_alone(start_dev: StartDev, database_url: str) -> None:
    dev = start_dev("--json", "--port", free_port(), DATABASE_URL=database_url)
    output, errors = dev.communicate()

    assert (1, "") == (dev.returncode, output)
    assert "holds tables and is not marked as a dev database" in errors
    assert 1 == errors.count("\n")


async def test_a_revoked_demo_key_is_replaced_at_the_next_start(start_dev: StartDev) -> None:
    dev = start_dev("--json", "--port", free_port())
    first = running(dev)
    connection = await asyncpg.connect(first["database_url"])
    await connection.execute("UPDATE api_keys SET revoked_at = now()")
    connection.terminate()
    dev.terminate()
    dev.communicate()

    second = running(start_dev("--json", "--port", free_port()))

    assert first["api_key"] != second["api_key"]
    assert "accepted" == track(second["url"], second["api_key"])["status"]


def test_roots_forebay_works_below_a_closed_folder(
    start_dev: StartDev, closed_folder: Path
) -> None:
    folder = str(closed_folder / ".forebay")
    answer = running(start_dev("--json", "--port", free_port(), "--data-dir", folder))

    assert "accepted" == track(answer["url"], answer["api_key"])["status"]
