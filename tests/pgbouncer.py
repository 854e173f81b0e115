"""A real PgBouncer in front of a test's database, if the program is installed."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from provision.postgres import free_port
from provision.postgres_account import server_account

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_START_TIMEOUT_S: Final = 10.0
_USER: Final = "forebay"
# Tests look for its first part in messages.
_PASSWORD: Final = f"canary-word-{secrets.token_hex(12)}"


@contextlib.contextmanager
def pgbouncer(database_url: str, pool_mode: str, **settings: str | int) -> Iterator[str]:
    """Run a pooler of *pool_mode* during the block; return the URL of the database through it."""
    if PROGRAM is None:
        assert "TESTS_REQUIRE_PGBOUNCER" not in os.environ
        pytest.skip("there is no pgbouncer on this machine")
    folder = Path(tempfile.mkdtemp(prefix="forebay-tests-"))
    # PgBouncer does not run as root.
    account = server_account(folder / "none")
    try:
        port = free_port()
        ini, users = folder / "pgbouncer.ini", folder / "users"
        given = {"pool_mode": pool_mode, "auth_file": str(users), **settings}
        ini.write_text(_ini(database_url, port, given))
        # Each user of the machine can reach the port.
        users.write_text(f'"{_USER}" "{_PASSWORD}"\n')
        for path in (folder, ini, users):
            os.chown(path, account.uid, account.gid)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAM, str(ini)], stdout=log, stderr=log, **account.popen_arguments
            )
        try:
            _wait(process, port, folder / "log")
            database = urlsplit(database_url).path
            yield f"postgresql://{_USER}:{_PASSWORD}@127.0.0.1:{port}{database}"
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder)


def _ini(database_url: str, port: int, settings: dict[str, str | int]) -> str:
    parts = urlsplit(database_url)
    server = f"host={parts.hostname} port={parts.port} user={parts.username}"
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        **settings,
    }
    return "\n".join(
        [
            *("[databases]", f"* = {server} password={unquote(parts.password or '')}"),
            *("[pgbouncer]", *(f"{name} = {value}" for name, value in lines.items())),
        ]
    )


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
