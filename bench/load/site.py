"""A service with a PostgreSQL of its own and a few tenants, for the time of one run."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg
import httpx

from provision import postgres
from provision.migrate import migrate
from provision.tenants import create_tenant

ROOT: Final = Path(__file__).parents[2]
HOST: Final = "127.0.0.1"
_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_OK: Final = 200


class Site:
    """What a run is aimed at."""

    def __init__(
        self, url: str, keys: list[str], database_url: str, process: subprocess.Popen[bytes]
    ) -> None:
        self.url = url
        self.keys = keys
        self._database_url = database_url
        self._process = process

    @property
    def is_running(self) -> bool:
        """Whether the service is still there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the service, so that nothing is under way any more."""
        self._process.terminate()
        self._process.wait(_STOP_TIMEOUT_S)

    def stored(self) -> int:
        """Return how many events the database holds."""
        return asyncio.run(_count(self._database_url))


@contextlib.contextmanager
def lent_site(tenants: int, workers: int, log: Path) -> Iterator[Site]:
    """Lend a new service, whose log goes to *log*, and remove all of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    folder.chmod(0o711)  # as root PostgreSQL runs as another user, who has to get in
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(postgres.start(folder / "server", max_wal_senders=0))
        stack.callback(shutil.rmtree, server.place.home, ignore_errors=True)
        keys = asyncio.run(_provision(server.url(), tenants))
        port = postgres.free_port()
        process = _start_service(server.url(), port, workers, log)
        stack.callback(process.wait, _STOP_TIMEOUT_S)
        stack.callback(process.terminate)
        site = Site(f"http://{HOST}:{port}", keys, server.url(), process)
        _wait_until_ready(site, log)
        yield site


def _start_service(
    database_url: str, port: int, workers: int, log: Path
) -> subprocess.Popen[bytes]:
    settings = {"port": port, "metrics_port": postgres.free_port(), "workers": workers}
    given = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    given |= {f"FOREBAY_{name.upper()}": str(value) for name, value in settings.items()}
    given |= {"DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), "FOREBAY_LOG_FORMAT": "json"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=log.parent,  # where no developer's .env is
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the users first
        )


def _wait_until_ready(site: Site, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while site.is_running and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{site.url}/health/ready").status_code == _OK:
                return
        time.sleep(_POLL_S)
    sys.exit(f"load: the service did not start; its log is {log}")


async def _provision(database_url: str, tenants: int) -> list[str]:
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        made = [await create_tenant(connection, f"load-{number}") for number in range(tenants)]
    finally:
        await connection.close()
    return [key.api_key for key in made]


async def _count(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM events"))
    finally:
        await connection.close()
