"""
The embedded PostgreSQL: programs from a wheel, run as our own child on 127.0.0.1.

For development and tests. See docs/decisions/0001-embedded-postgresql.md.
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
from pathlib import Path
from typing import Final, Self

import asyncpg

from provision.errors import ProvisionError
from provision.place import Place, find_place

HOST: Final = "127.0.0.1"
_SUPERUSER: Final = "postgres"
_START_TIMEOUT_S: Final = 60.0  # it may have to recover after a crash
_STOP_TIMEOUT_S: Final = 30
_CONNECT_TIMEOUT_S: Final = 5
_POLL_S: Final = 0.02
_PORT_LINE: Final = 3  # of postmaster.pid, counted from 0
_LOG_LINES_SHOWN: Final = 5
# Ends of a server that another try may mend: the port went to another, or the one before it on
# this data is not quite gone.
_PASSING_FAULTS: Final = ("could not bind", "already exists", "still in use")
SETTINGS: Final[dict[str, str | int]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Checkpoints by time, not by volume: under load a checkpoint and the commits share the disk.
    "checkpoint_timeout": "15min",
    "max_wal_size": "4GB",
    # Segments to use again: a commit that needs a new one waits until it is zeroed.
    "min_wal_size": "512MB",
}


class Server:
    """A running server. `stop` ends it in order; as a context manager it does so by itself."""

    def __init__(self, place: Place, port: int, process: subprocess.Popen[bytes] | None) -> None:
        self.place = place
        self.port = port
        self._process = process  # None: adopted, not our child

    @property
    def is_adopted(self) -> bool:
        """Whether it ran already when we came."""
        return self._process is None

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database; it holds the password."""
        return _url(self.place, self.port, database)

    def stop(self) -> None:
        """
        Stop in order: sessions are ended, everything is written. Nothing happens the second time.

        Raises
        ------
        ProvisionError
            It does not stop in time; it was then ended hard, and will recover at the next start.
        """
        if self._process is None:
            _run_program(self.place, "pg_ctl", "stop", "-m", "fast", "-t", str(_STOP_TIMEOUT_S))
            return
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_STOP_TIMEOUT_S)
            raise ProvisionError(
                f"PostgreSQL did not stop within {_STOP_TIMEOUT_S} s and was ended hard; "
                f"see {self.place.log}"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(asked: Path, **settings: str | int) -> Server:
    """
    Start the server that belongs to the folder *asked*, or adopt it if it runs; make it if need be.

    Returns when it has answered a real connection. *settings* are PostgreSQL's own.

    Raises
    ------
    ProvisionError
        It cannot be started; the message ends with the last lines of its log.
    """
    place = find_place(asked)
    try:
        if not place.data.exists():
            _initialise(place)
        return _adopt_or_start(place, settings)
    except (OSError, subprocess.SubprocessError) as error:
        raise ProvisionError(f"PostgreSQL could not be started in {place.home}: {error}") from error


def _initialise(place: Place) -> None:
    """Make a new cluster, all or nothing: it gets its name when it is whole."""
    unfinished = place.home / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, place.account.uid, place.account.gid)
    password = secrets.token_urlsafe(24)
    place.password.unlink(missing_ok=True)
    _write_private(place.password, password)
    # initdb reads a file of its own user's; ours stays closed to that user.
    handed_over = unfinished.with_suffix(".password")
    handed_over.unlink(missing_ok=True)
    _write_private(handed_over, password)
    os.chown(handed_over, place.account.uid, place.account.gid)
    try:
        _run_program(
            *(place, "initdb", "--pgdata", str(unfinished), "--no-instructions"),
            *("--username", _SUPERUSER, "--pwfile", str(handed_over), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        )
    finally:
        handed_over.unlink()
    unfinished.rename(place.data)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _run_program(place: Place, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [place.programs / program, *arguments],
        env=_environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        start_new_session=True,
        **place.account.popen_arguments,
    )
    if done.returncode != 0:
        raise ProvisionError(f"{program} failed: {_tail(done.stdout)}")


def _environment(place: Place) -> dict[str, str]:
    """Nothing of the caller's: a PGPORT or a locale of theirs must not reach the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "PGDATA": str(place.data)}


def _running_port(place: Place) -> int | None:
    """Return the port of a server that answers on our data; disown what a dead one left."""
    pid_file = place.data / "postmaster.pid"
    try:
        text = pid_file.read_text()
        pid, port = int(text.splitlines()[0]), int(text.splitlines()[_PORT_LINE])
    except (OSError, ValueError, IndexError):
        return None
    if _is_running_postgres(pid):
        return port if asyncio.run(_answers(place, port)) else None
    # Not removed: the rest of it tells a new server to wait until the last orphan of the dead one
    # has let go of the data. The number of its parent, us, is one that it knows cannot be a server.
    with contextlib.suppress(FileNotFoundError), pid_file.open("r+") as file:
        file.write(f"{os.getpid()}\n{text.partition(chr(10))[2]}")
        file.truncate()
    return None


def _is_running_postgres(pid: int) -> bool:
    """
    Tell a server from a process that got its number later, and from a corpse.

    In a container whose first process does not reap, a killed server stays a zombie for ever, and
    PostgreSQL itself would take it for alive.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return False
        return _exists(pid)
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name == "postgres" and rest.split()[0] != "Z"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _adopt_or_start(place: Place, settings: dict[str, str | int]) -> Server:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        # At every try: one just killed may have been alive, on paper, a moment ago.
        running_port = _running_port(place)
        if running_port is not None:
            return Server(place, running_port, None)
        port = free_port()
        server = Server(place, port, _spawn(place, SETTINGS | settings | {"port": port}))
        try:
            if _wait_until_answering(server, deadline):
                return server
        except BaseException:
            server.stop()
            raise
        fault = _tail(place.log.read_bytes())
        is_passing = any(words in fault for words in _PASSING_FAULTS)
        if not is_passing or time.monotonic() > deadline:
            raise ProvisionError(f"PostgreSQL did not start ({place.log}): {fault}")
        time.sleep(_POLL_S)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _spawn(place: Place, settings: dict[str, str | int]) -> subprocess.Popen[bytes]:
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with contextlib.suppress(FileNotFoundError):
        place.log.replace(place.log.with_suffix(".log.before"))
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            [place.programs / "postgres", *options],
            env=_environment(place),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C goes to a whole session; the server must outlive the service's last flush.
            start_new_session=True,
            **place.account.popen_arguments,
        )
    finally:
        os.close(log)


def _wait_until_answering(server: Server, deadline: float) -> bool:
    """Return False when it has ended instead."""
    process = server._process  # noqa: SLF001 - of this module
    while process is not None and process.poll() is None:
        if asyncio.run(_answers(server.place, server.port)):
            return True
        if time.monotonic() > deadline:
            raise ProvisionError(
                f"PostgreSQL does not answer after {_START_TIMEOUT_S:.0f} s; see {server.place.log}"
            )
        time.sleep(_POLL_S)
    return False


async def _answers(place: Place, port: int) -> bool:
    """Connect for real: a process number or an open port proves nothing."""
    try:
        connection = await asyncpg.connect(_url(place, port), timeout=_CONNECT_TIMEOUT_S)
    except asyncpg.InvalidPasswordError as error:
        raise ProvisionError(
            f"PostgreSQL refuses the password in {place.password}: it is not the one that its "
            "data was made with"
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    try:
        folder = await connection.fetchval("SHOW data_directory")
    finally:
        connection.terminate()
    return _is_same_folder(folder, place.data)


def _is_same_folder(reported: str, expected: Path) -> bool:
    return Path(reported).resolve() == expected.resolve()


def _url(place: Place, port: int, database: str = "postgres") -> str:
    try:
        password = place.password.read_text()
    except FileNotFoundError:
        raise ProvisionError(
            f"the password of PostgreSQL is missing ({place.password}): put it back, or remove "
            f"{place.home} to begin anew without its data"
        ) from None
    return f"postgresql://{_SUPERUSER}:{password}@{HOST}:{port}/{database}"


def _tail(log: bytes) -> str:
    lines = log.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-_LOG_LINES_SHOWN:]) or "it said nothing"
