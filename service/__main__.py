"""`forebay serve`: checks the settings and the database, then runs Granian's workers."""

import asyncio
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from service import config
from service.config import Config, ConfigError
from service.database_url import parse
from service.listening import Address, checked_addresses
from service.obs import log as logs
from service.store.connect_error import connect_reason
from service.store.faults import UnsafeSessionError
from service.store.health import SchemaError, check_database
from service.store.pool import connections_per_worker, pool_config

log = structlog.get_logger()

MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
_BACKLOG: Final = 2048
# Granian closes idle keep-alive connections by the same timer: longer than a balancer keeps them.
_HEADER_TIMEOUT_MS: Final = 75_000
_RESPAWN_INTERVAL_S: Final = 1.0
_KILL_GRACE_S: Final = 5
# Granian's own words go the way of ours: its default writes plain text between our JSON lines.
_LOGS_AS_OURS: Final = {"loggers": {"_granian": {"propagate": True}}}


class BootError(Exception):
    """The service cannot start; the message says why, in one sentence."""


def main() -> int:
    """Run the service until it is told to stop; return the exit code."""
    try:
        settings = config.load()
        url = config.database_url()
        if url is None:
            raise BootError("forebay serve needs DATABASE_URL, the PostgreSQL to write to")
        asyncio.run(_check(settings, url))
        addresses = checked_addresses(settings)
    except (BootError, ConfigError, SchemaError, UnsafeSessionError) as error:
        sys.stderr.write(f"forebay: {error}\n")
        return 1
    os.environ[config.DATABASE_URL] = url  # from .env perhaps, which the workers need not find
    folder = Path(tempfile.mkdtemp(prefix="forebay-metrics-"))
    os.environ[MULTIPROC_DIR] = str(folder)
    try:
        return _serve(settings, addresses, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _check(settings: Config, url: str) -> None:
    connections = settings.workers * connections_per_worker(settings)
    target, parsed = pool_config(settings, url), parse(url)
    try:
        await check_database(target, connections)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = connect_reason(error, target.server_settings | parsed.server_settings)
        raise BootError(
            f"the database of DATABASE_URL at {parsed.place} cannot be used: {reason}"
        ) from None


def _serve(settings: Config, addresses: tuple[Address, Address], folder: Path) -> int:
    # prometheus_client reads the folder's name when it is imported.
    from service.obs.metrics import serve_metrics  # noqa: PLC0415

    logs.configure(settings.log_level, settings.log_format)
    public, private = addresses
    _log_choices(addresses)
    metrics = serve_metrics(private.host, private.port, folder)
    # Workers that are spawned, not forked: none inherits a thread's lock or an open connection.
    multiprocessing.set_start_method("spawn", force=True)
    server = Granian(
        "service.app:create",
        factory=True,
        address=public.host,
        port=public.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        # Requests above it would wait unseen; ours are shed, and counted, by the queue's marks.
        backpressure=_BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS),
        log_level=LogLevels.warning,
        log_dictconfig=_LOGS_AS_OURS,
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_INTERVAL_S,
        workers_kill_timeout=int(settings.drain_timeout_s) + _KILL_GRACE_S,
    )
    try:
        server.serve()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        metrics.shutdown()
    return 0


def _log_choices(addresses: tuple[Address, Address]) -> None:
    """Say what was chosen or left out, where the settings did not say it."""
    for name, host, _, others in addresses:
        if others:
            log.info("host_resolved", host=name, address=host, not_used=others)
    ignored = config.ignored_variables(config.read_environment())
    if ignored:
        log.info("kubernetes_variables_ignored", names=ignored)


if __name__ == "__main__":
    sys.exit(main())
