"""`forebay serve`: checks the settings, waits for the database, then runs the workers."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from service import config
from service.config import Config, ConfigError
from service.obs import log as logs
from service.obs.folders import metrics_folder
from service.retry import retried
from service.server import serve
from service.store.faults import UnsafeSessionError
from service.store.health import SchemaError, check_database
from service.store.pool import connections_per_worker, pool_config

MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"


class BootError(Exception):
    """The service cannot start; the message says why, in one sentence."""


def main() -> int:
    """Run the service until it is told to stop; return the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are workers to replace
    try:
        settings = config.load()
        url = config.database_url()
        if url is None:
            raise BootError("forebay serve needs DATABASE_URL, the PostgreSQL to write to")
        _require_free(settings.host, settings.port, "FOREBAY_PORT")
        _require_free(settings.metrics_host, settings.metrics_port, "FOREBAY_METRICS_PORT")
        logs.configure(settings.log_level, settings.log_format)
        if not asyncio.run(_is_database_ready(settings, url)):
            return 0
    except (BootError, ConfigError, SchemaError, UnsafeSessionError) as error:
        sys.stderr.write(f"forebay: {error}\n")
        return 1
    os.environ[config.DATABASE_URL] = url  # from .env perhaps, which the workers need not find
    with metrics_folder() as folder:
        os.environ[MULTIPROC_DIR] = str(folder)
        _serve(settings, folder)
    return 0


async def _is_database_ready(settings: Config, url: str) -> bool:
    """Wait until the database can be used, however long; False when told to stop meanwhile."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(
        retried(lambda: _check(settings, url), "service_waits_for_database", _is_final)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, waiting.cancel)
    try:
        await waiting
    except asyncio.CancelledError:
        return False
    return True


async def _check(settings: Config, url: str) -> None:
    connections = settings.workers * connections_per_worker(settings)
    try:
        await check_database(pool_config(settings, url), connections)
    except ValueError:
        # Not the error's text: it quotes a piece of the URL, which may be of the password.
        raise BootError(
            "DATABASE_URL is not the URL of a PostgreSQL, such as"
            " postgresql://user:password@host:5432/database (special characters written as %40)"
        ) from None


def _is_final(error: Exception) -> bool:
    """Whether *error* needs an operator. Anything else may pass: a failover, a wrong password."""
    if isinstance(error, UnsafeSessionError):
        return "transaction_read_only" not in str(error)
    return isinstance(error, BootError | SchemaError)


def _serve(settings: Config, folder: Path) -> None:
    # prometheus_client reads the folder's name when it is imported.
    from service.obs.metrics import MetricsServer  # noqa: PLC0415

    metrics = MetricsServer(settings.metrics_host, settings.metrics_port, folder)
    try:
        serve(settings, metrics.worker_ended)
    finally:
        metrics.close()


def _require_free(host: str, port: int, variable: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BootError(
                f"{host}:{port} cannot be listened on ({error.strerror}): set {variable}"
            ) from None


if __name__ == "__main__":
    sys.exit(main())
