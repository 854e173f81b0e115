"""A real PgBouncer in front of a test's database, if the program is installed."""

import contextlib
import os
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
        ini = folder / "pgbouncer.ini"
        ini.write_text(_ini(database_url, port, {"pool_mode": pool_mode, **settings}))
        for path in (folder, ini):
            os.chown(path, account.uid, account.gid)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAM, str(ini)], stdout=log, stderr=log, **account.popen_arguments
            )
        try:
            _wait(process, port, folder / "log")
            yield f"postgresql://forebay:canary-word@127.0.0.1:{port}{urlsplit(database_url).path}"
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
        "auth_type": "any",
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
