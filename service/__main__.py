"""`forebay serve`: checks the settings, waits for the database, and runs the workers."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from service import config
from service.config import Config, ConfigError
from service.database_url import parse
from service.listening import Address, ListenError, checked_addresses
from service.obs import log as logs
from service.obs.metrics_folder import FOLDER_VARIABLE, FolderError, metrics_folder
from service.retry import retried
from service.server import serve
from service.store.connections import connections_per_worker, pool_config
from service.store.errors import UnsafeSessionError, connect_reason, is_about_url
from service.store.schema import SchemaError, check_database
from service.worker_reports import WorkerReports

log = structlog.get_logger()

# Timeout, in seconds, for writing the queued log lines when the service is stopped before the
# workers start.
_LOG_TIMEOUT_S: Final = 1.0


class BootError(Exception):
    """The service cannot start; the message is the reason in one sentence."""


def main() -> int:
    """Run the service until SIGTERM or SIGINT; return the exit code."""
    # Handlers until the workers start. For process 1 the kernel ignores signals without a handler.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    try:
        settings = config.load()
        url = config.database_url()
        if url is None:
            raise BootError("DATABASE_URL is not set: set it to the URL of a PostgreSQL database")
        logs.configure(settings.log_level, settings.log_format)
        public, metrics = asyncio.run(_ready_addresses(settings, url))
        _log_choices(public, metrics)
        # Replace host names by the address that was checked.
        settings = msgspec.structs.replace(settings, host=public.host, metrics_host=metrics.host)
        with metrics_folder() as folder:
            os.environ[FOLDER_VARIABLE] = str(folder)
            _serve(settings, folder)
    except (BootError, ConfigError, FolderError, SchemaError, UnsafeSessionError) as error:
        sys.stderr.write(f"forebay: {error}\n")
        return 1
    return 0


def _exit(*_: Any) -> None:
    """Exit at once: there are no requests, and a name look-up in a thread can take minutes."""
    logs.drain(_LOG_TIMEOUT_S)
    os._exit(0)


async def _ready_addresses(settings: Config, url: str) -> tuple[Address, Address]:
    """Wait without limit until the database can be used; return the addresses to listen on."""
    # In a thread, so that signals are handled during name look-ups.
    addresses = await asyncio.to_thread(checked_addresses, settings)
    await retried(lambda: _check(settings, url), "service_waits_for_database", _is_final)
    return addresses


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
    """Whether *error* lasts until an operator acts; an error during a failover does not."""
    if isinstance(error, UnsafeSessionError):
        return not error.is_read_only
    return isinstance(error, BootError | SchemaError)


def _serve(settings: Config, folder: Path) -> None:
    # prometheus_client reads FOLDER_VARIABLE when it is imported.
    from service.obs.metrics_server import MetricsServer  # noqa: PLC0415

    host, port = settings.metrics_host, settings.metrics_port
    reports = WorkerReports()

    def worker_ended(pid: int) -> None:
        reports.forget(pid)
        metrics.worker_ended(pid)

    try:
        metrics = MetricsServer(host, port, folder, reports.answer)
    except OSError as error:
        raise ListenError(
            f"cannot listen on port {port} of {host} ({error.strerror}): set FOREBAY_METRICS_PORT"
        ) from None
    try:
        serve(settings, worker_ended, reports.hear)
    finally:
        metrics.close()


def _log_choices(*addresses: Address) -> None:
    """Log the resolved addresses and the ignored Kubernetes variables."""
    for name, host, _, others in addresses:
        if others:
            log.info("host_resolved", host=name, address=host, not_used=others)
    ignored = config.ignored_variables(config.read_environment())
    if ignored:
        log.info("kubernetes_variables_ignored", names=ignored)


if __name__ == "__main__":
    sys.exit(main())
