"""
Other accounts of the machine can read nothing of the embedded PostgreSQL and of `forebay dev`.

If these tests fail: a program of another user on the machine of a developer reads stored events,
the password of the database or the demo key.
"""

import asyncio
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from provision import postgres
from provision.errors import ProvisionError
from provision.postgres_account import Account
from provision.postgres_files import PostgresFiles, find_files, home_below_root_folder

from .conftest import command_environment, make_open_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
# `nobody` is the account of many services: to run as `nobody` is not to be alone.
_NOBODY: Final = pwd.getpwnam("nobody")
OTHERS: Final = (
    Account(_NOBODY.pw_uid, _NOBODY.pw_gid),
    Account(uid=54_321, gid=54_321),
)
# Of a process: its variables, memory, folders and open files.
OF_PROCESS: Final = ("environ", "mem", "cwd", "root", "fd", "fd/1", "fd/2", "fd/3")
# Becomes another user; prints which paths on its input it can open, list or follow.
LOOK: Final = """
import json, os, sys
paths = json.load(sys.stdin)
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
seen = []
for path in paths:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        continue
    seen.append(path)
print(json.dumps(seen))
"""


def readable(account: Account, paths: Iterable[Path]) -> list[str]:
    """Return those of *paths* that *account* can open."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(account.uid), str(account.gid)],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    seen: list[str] = json.loads(done.stdout)
    return seen


def tree(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")]


def text_of(file: str) -> str:
    """Return the text of a file of a process, empty if the process has ended."""
    try:
        return Path(file).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes(pid: int) -> Iterator[int]:
    """Yield *pid* and the ids of all its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in text_of(f"{task}/children").split():
            yield from processes(int(child))


def of_processes(pid: int) -> list[Path]:
    return [Path(f"/proc/{each}/{name}") for each in processes(pid) for name in OF_PROCESS]


def pid_of(files: PostgresFiles) -> int:
    return int((files.data / "postmaster.pid").read_text().split()[0])


def ask(url: str, query: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [row[0] for row in await connection.fetch(query)]
        finally:
            connection.terminate()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.EmbeddedPostgres]:
    with make_open_folder() as folder, postgres.start(folder) as started:
        yield started


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_account_reads_a_file_or_a_process_of_the_server(
    server: postgres.EmbeddedPostgres, other: Account
) -> None:
    paths = tree(server.files.home) + of_processes(pid_of(server.files))

    assert len(paths) > 1_000
    assert [] == readable(other, paths)


def test_the_server_runs_as_a_user_and_group_that_no_account_has(
    server: postgres.EmbeddedPostgres,
) -> None:
    status = Path(f"/proc/{pid_of(server.files)}").stat()

    assert (status.st_uid, status.st_gid) == server.files.account
    assert not {status.st_uid, status.st_gid} & {0, *(other.uid for other in OTHERS)}


def test_the_port_asks_every_account_for_the_password(server: postgres.EmbeddedPostgres) -> None:
    methods = ask(server.url(), "SELECT DISTINCT auth_method FROM pg_hba_file_rules")

    assert ["scram-sha-256"] == methods
    for user in ("postgres", "nobody", "root"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(f"postgresql://{user}:guess@127.0.0.1:{server.port}/postgres", "SELECT 1")


def test_a_program_of_another_account_that_takes_the_port_gets_no_connection(
    server: postgres.EmbeddedPostgres,
) -> None:
    # PostgreSQL still starts, or has failed to listen, while the other program already does.
    with (
        socket.create_server((postgres.HOST, 0)) as other,
        subprocess.Popen(["sleep", "0.3"]) as starting,
    ):
        port = other.getsockname()[1]
        waiting = postgres.EmbeddedPostgres(server.files, "secret", port, starting)

        assert not waiting.is_up(time.monotonic() + 60)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_account_reads_the_data_while_they_are_created(
    open_folder: Path, other: Account
) -> None:
    # In place of initdb: a program that writes a readable file and waits.
    programs = open_folder / "programs"
    programs.mkdir(mode=0o755)
    initdb = programs / "initdb"
    initdb.write_text(
        "#!/bin/sh\numask 0; chmod 755 $2; echo secret > $2/written\n"
        f"while [ ! -e {programs}/continue ]; do sleep 0.02; done; exit 1\n"
    )
    initdb.chmod(0o755)
    home = find_files(open_folder, programs).home
    written = home / "data.unfinished" / "written"

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(postgres.start, open_folder, programs)
        pause = threading.Event()
        try:
            while not (written.exists() and written.read_text()):
                assert not starting.done(), starting.result()
                pause.wait(0.02)
            seen = readable(other, tree(home))
        finally:
            (programs / "continue").touch()
        with pytest.raises(ProvisionError, match="initdb failed"):
            starting.result()

    assert [] == seen


def test_data_of_nobody_of_an_earlier_release_become_private(open_folder: Path) -> None:
    with postgres.start(open_folder) as server:
        ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS n")
    home = server.files.home
    for path in (server.files.password, *tree(server.files.data)):
        os.chown(path, *OTHERS[0])
    os.chown(home, 0, 0)
    home.chmod(0o711)
    assert str(server.files.password) in readable(OTHERS[0], tree(home))

    with postgres.start(open_folder) as server:
        assert [7] == ask(server.url(), "SELECT n FROM kept")
        paths = tree(home) + of_processes(pid_of(server.files))
        assert [] == readable(OTHERS[0], paths)


@pytest.mark.parametrize("is_closed", [False, True])
def test_no_other_account_reads_a_file_or_a_process_of_forebay_dev(
    open_folder: Path, is_closed: bool
) -> None:
    open_folder.chmod(0o700 if is_closed else 0o711)
    dev = subprocess.Popen(
        [sys.executable, "-m", "provision.forebay", "dev", "--json", "--workers", "1"],
        cwd=open_folder,
        env=command_environment(TMPDIR=str(open_folder), FOREBAY_PORT=str(postgres.free_port())),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert dev.stdout is not None
        running = json.loads(dev.stdout.readline())
        home = find_files(open_folder / ".forebay").home
        paths = {*tree(open_folder), *tree(home), *of_processes(dev.pid)} - {open_folder}
        assert open_folder / ".forebay" / "api-key" in paths
        for other in OTHERS:
            assert [] == readable(other, paths)

        # Every account sees the arguments of all processes.
        arguments = "".join(text_of(f"/proc/{pid}/cmdline") for pid in processes(dev.pid))
        password = running["database_url"].partition("postgres:")[2].partition("@")[0]
        assert "postgres" in arguments
        for secret in (password, running["api_key"].rpartition("_")[2]):
            assert secret not in arguments
    finally:
        dev.terminate()
        dev.communicate()
        if is_closed:
            home = home_below_root_folder(open_folder / ".forebay")
            subprocess.run(["rm", "-rf", home], check=True)
