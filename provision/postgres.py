"""
The embedded PostgreSQL for development and tests: a child process that listens on 127.0.0.1.

Its programs come from a wheel. See docs/decisions/0001-embedded-postgresql.md.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Final, Self

import asyncpg

from provision.errors import ProvisionError
from provision.postgres_account import close_home, give, initdb_account
from provision.postgres_files import PostgresFiles, find_files
from provision.process_lock import lock_file, take_over

HOST: Final = "127.0.0.1"
SETTINGS: Final[dict[str, str | int]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Checkpoints start by time, not by WAL size: under load they compete with commits for the disk.
    "checkpoint_timeout": "15min",
    "max_wal_size": "4GB",
    # Keeps WAL segments for reuse: a commit that needs a new segment waits until it is zero-filled.
    "min_wal_size": "512MB",
}
# Arguments of initdb of version 17 or later.
_LOCALE: Final = ("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8")
_SUPERUSER: Final = "postgres"
_START_TIMEOUT_S: Final = 60.0  # includes the recovery after a crash
_STOP_TIMEOUT_S: Final = 30
_CONNECT_TIMEOUT_S: Final = 5
# In the file of the process id: the number of the line, from 0, and its values when the server
# accepts connections.
_STATUS_LINE: Final = 7
_LISTENING: Final = frozenset({"ready", "standby"})
_POLL_S: Final = 0.02
_LOG_LINES_SHOWN: Final = 5
# Linux assigns higher ports to outgoing connections. Such a connection could take a port after
# `free_port` has returned it.
_PORTS: Final = range(15_000, 32_000)
# In the log if another program has taken the port that `free_port` returned.
_PORT_TAKEN: Final = "could not bind"


class EmbeddedPostgres:
    """A running server. `stop` stops it, and so does the end of a `with` block."""

    def __init__(
        self, files: PostgresFiles, password: str, port: int, process: subprocess.Popen[bytes]
    ) -> None:
        self.files = files
        self.port = port
        self._password = password
        self._process = process

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, with the password."""
        return f"postgresql://{_SUPERUSER}:{self._password}@{HOST}:{self.port}/{database}"

    def is_up(self, deadline: float) -> bool:
        """
        Wait until the server accepts a connection; return False if it ends before that.

        Raises
        ------
        ProvisionError
            The server accepts no connection before *deadline*, or refuses the password.
        """
        while self._process.poll() is None:
            if self._is_listening() and asyncio.run(self._answers()):
                return True
            if time.monotonic() > deadline:
                raise ProvisionError(
                    f"PostgreSQL does not accept connections after {_START_TIMEOUT_S:.0f} s; see"
                    f" {self.files.log}"
                )
            time.sleep(_POLL_S)
        return False

    def _is_listening(self) -> bool:
        """
        Whether the server has the port.

        Until then a program of another user may have it, and could ask for the password.
        """
        lines = _read_lines(_process_id_file(self.files))
        is_own = lines[:1] == [str(self._process.pid)]
        return is_own and "".join(lines[_STATUS_LINE:]).strip() in _LISTENING

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url(), timeout=_CONNECT_TIMEOUT_S)
        except asyncpg.InvalidPasswordError as error:
            raise ProvisionError(
                f"PostgreSQL refuses the password in {self.files.password}: its data was created"
                " with another password"
            ) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        connection.terminate()
        return True

    def stop(self) -> None:
        """
        End all sessions, write a checkpoint and stop. A second call does nothing.

        Raises
        ------
        ProvisionError
            The server did not stop in time and was killed. It recovers at its next start.
        """
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_STOP_TIMEOUT_S)
            raise ProvisionError(
                f"PostgreSQL did not stop within {_STOP_TIMEOUT_S} s and was killed; see"
                f" {self.files.log}"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    folder: Path,
    programs: Path | None = None,
    /,
    **settings: str | int,
) -> EmbeddedPostgres:
    """
    Start the server that belongs to *folder*, with new data if there is none.

    If a server of an earlier start still runs on the folder, it is stopped first. *programs* is the
    folder of PostgreSQL programs to use instead of those of the wheel; *settings* are settings of
    PostgreSQL. Returns when the server accepts connections.

    Raises
    ------
    ProvisionError
        The server cannot be started; the message ends with the last lines of its log.
    """
    files = find_files(folder, programs)
    try:
        with lock_file(files.lock) as lock:
            if not take_over(lock, partial(_stop_leftover, files), _STOP_TIMEOUT_S):
                raise ProvisionError(
                    f"an earlier PostgreSQL still uses {files.data} after {_STOP_TIMEOUT_S} s: kill"
                    " its processes"
                )
            close_home(files.home, files.account)
            if not files.data.exists():
                _initialise(files, _LOCALE if programs is None else ())
            _close_to_others(files)
            _disown_process_id(files)
            return _start(files, SETTINGS | settings, lock)
    except (OSError, subprocess.SubprocessError) as error:
        raise ProvisionError(f"PostgreSQL could not be started in {files.home}: {error}") from error


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free at the moment."""
    while True:
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port


def _stop_leftover(files: PostgresFiles) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(_process_id_file(files).read_text().split()[0]), signal.SIGINT)


def _close_to_others(files: PostgresFiles) -> None:
    """Give the data to the user of the server, and take back the password from initdb's user."""
    give(files.data, files.account)
    if files.password.exists() and files.home.stat().st_uid == os.geteuid():
        os.chown(files.password, os.geteuid(), os.getegid())


def _disown_process_id(files: PostgresFiles) -> None:
    """
    Replace the process id in the file of a killed server by our own.

    If a zombie or a later program had the old id, PostgreSQL would take it for a running server. It
    does not do so with the id of its own parent. The rest of the file stays: with it PostgreSQL
    detects processes of the killed server that still run.
    """
    path = _process_id_file(files)
    with contextlib.suppress(FileNotFoundError), path.open("r+") as file:
        rest = file.read().partition("\n")[2]
        file.seek(0)
        file.write(f"{os.getpid()}\n{rest}")
        file.truncate()


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _process_id_file(files: PostgresFiles) -> Path:
    return files.data / "postmaster.pid"


def _initialise(files: PostgresFiles, locale: tuple[str, ...]) -> None:
    """Create the data folder under a temporary name, and rename it when it is complete."""
    unfinished = files.home / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    files.password.unlink(missing_ok=True)
    descriptor = os.open(files.password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    account = initdb_account(files.account)
    for path in (unfinished, files.password):  # initdb reads the password as its own user
        os.chown(path, account.uid, account.gid)
    done = subprocess.run(
        [
            *(files.programs / "initdb", "--pgdata", str(unfinished), "--no-instructions"),
            *("--username", _SUPERUSER, "--pwfile", str(files.password)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", *locale),
        ],
        env=_environment(files),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        start_new_session=True,
        **account.popen_arguments,
    )
    if done.returncode != 0:
        raise ProvisionError(f"initdb failed: {_last_lines(done.stdout)}")
    unfinished.rename(files.data)


def _read_password(files: PostgresFiles) -> str:
    try:
        return files.password.read_text()
    except FileNotFoundError:
        raise ProvisionError(
            f"the password of PostgreSQL is missing ({files.password}): restore the file, or remove"
            f" {files.home} to delete the data and start with new data"
        ) from None


def _start(files: PostgresFiles, settings: dict[str, str | int], lock: int) -> EmbeddedPostgres:
    password = _read_password(files)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        port = free_port()
        process = _spawn(files, settings | {"port": port}, lock)
        server = EmbeddedPostgres(files, password, port, process)
        try:
            if server.is_up(deadline):
                return server
        except BaseException:
            server.stop()
            raise
        reason = _last_lines(files.log.read_bytes())
        if _PORT_TAKEN not in reason or time.monotonic() > deadline:
            raise ProvisionError(f"PostgreSQL did not start ({files.log}): {reason}")


def _spawn(
    files: PostgresFiles, settings: dict[str, str | int], lock: int
) -> subprocess.Popen[bytes]:
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with contextlib.suppress(FileNotFoundError):
        files.log.replace(files.log.with_suffix(".log.before"))
    log = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            [files.programs / "postgres", *options],
            env=_environment(files),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # In a session of its own: Ctrl-C must not stop the server before the last flush.
            start_new_session=True,
            pass_fds=(lock,),
            **files.account.popen_arguments,
        )
    finally:
        os.close(log)


def _environment(files: PostgresFiles) -> dict[str, str]:
    """Return the environment of the server, without variables of the caller such as PGPORT."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "PGDATA": str(files.data)}


def _last_lines(log: bytes) -> str:
    lines = log.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-_LOG_LINES_SHOWN:]) or "the log is empty"
