"""`forebay serve`: checks the settings, waits for the database, then runs the workers."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog

from service import config
from service.config import Config, ConfigError
from service.database_url import parse
from service.listening import Address, checked_addresses
from service.obs import log as logs
from service.obs.folders import metrics_folder
from service.retry import retried
from service.server import serve
from service.store.connect_error import connect_reason, is_about_url
from service.store.faults import UnsafeSessionError
from service.store.health import SchemaError, check_database
from service.store.pool import connections_per_worker, pool_config

log = structlog.get_logger()

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
        public, metrics = checked_addresses(settings)
        logs.configure(settings.log_level, settings.log_format)
        if not asyncio.run(_is_database_ready(settings, url)):
            return 0
    except (BootError, ConfigError, SchemaError, UnsafeSessionError) as error:
        sys.stderr.write(f"forebay: {error}\n")
        return 1
    _log_choices(public, metrics)
    # Names stand for one address each from here on.
    settings = msgspec.structs.replace(settings, host=public.host, metrics_host=metrics.host)
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
    target, parsed = pool_config(settings, url), parse(url)
    try:
        await check_database(target, connections)
    except Exception as error:
        if not is_about_url(error):
            raise
        reason = connect_reason(error, target.server_settings | parsed.server_settings)
        raise BootError(
            f"the database of DATABASE_URL at {parsed.place} cannot be used: {reason}"
        ) from None


def _is_final(error: Exception) -> bool:
    """Whether *error* needs an operator. Anything else may pass: a failover, a wrong password."""
    if isinstance(error, UnsafeSessionError):
        return not error.is_read_only
    return isinstance(error, BootError | SchemaError)


def _serve(settings: Config, folder: Path) -> None:
    # prometheus_client reads the folder's name when it is imported.
    from service.obs.metrics import MetricsServer  # noqa: PLC0415

    metrics = MetricsServer(settings.metrics_host, settings.metrics_port, folder)
    try:
        serve(settings, metrics.worker_ended)
    finally:
        metrics.close()


def _log_choices(*addresses: Address) -> None:
    """Say what was chosen or left out, where the settings did not say it."""
    for name, host, _, others in addresses:
        if others:
            log.info("host_resolved", host=name, address=host, not_used=others)
    ignored = config.ignored_variables(config.read_environment())
    if ignored:
        log.info("kubernetes_variables_ignored", names=ignored)


if __name__ == "__main__":
    sys.exit(main())
