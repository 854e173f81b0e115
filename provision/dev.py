"""
`forebay dev`: prepares a database with a demo tenant and key, and runs the service on it.

The service and the embedded PostgreSQL are child processes. The service stops first.
"""

import asyncio
import shlex
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from provision import postgres
from provision.command_line import print_json
from provision.dev_database import dev_database, dev_key
from provision.dev_service import only_one, service_process
from provision.postgres_files import make_folder
from service import config
from service.listening import Address, checked_addresses

_PORT: Final = "FOREBAY_PORT"
_WORKERS: Final = "FOREBAY_WORKERS"
_METRICS_PORT: Final = "FOREBAY_METRICS_PORT"
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
_EVENT: Final = '{"event": "Tried Forebay", "user_id": "me"}'


class Options(msgspec.Struct, frozen=True):
    """Options of the command; None means that the environment or the default applies."""

    data_dir: Path
    port: int | None
    workers: int | None
    is_json: bool


class Running(msgspec.Struct, frozen=True):
    """The output of `forebay dev --json`."""

    url: str
    metrics_url: str
    api_key: str
    database_url: str


async def run_dev(options: Options) -> None:
    """
    Run until a signal arrives.

    Raises
    ------
    ProvisionError, ConfigError
        PostgreSQL or the service could not start, or the service ended by itself. Both are stopped.
    """
    stopping = _stop_signals()
    environment = _environment(options)
    settings = config.load(environment)
    folder = make_folder(options.data_dir)
    given_url = config.database_url(environment)
    with only_one(folder) as lock:
        public, metrics = checked_addresses(settings, f"--port or {_PORT}")
        async with dev_database(folder, given_url) as url:
            key = await dev_key(folder, url, given_url)
            async with service_process(
                environment | {config.DATABASE_URL: url},
                address=(_reachable(public.host), public.port),
                drain_timeout_s=settings.drain_timeout_s,
                logs_to_stderr=options.is_json,
                lock=lock,
            ) as service:
                if await service.is_ready(stopping):
                    running = Running(
                        url=_http_url(public),
                        metrics_url=_http_url(metrics) + "/metrics",
                        api_key=key,
                        database_url=url,
                    )
                    show = show_command(url if given_url is None else None)
                    _announce(running, show, is_json=options.is_json)
                    await service.run_until(stopping)


def _reachable(host: str) -> str:
    """Return the address to connect to when a server listens on *host*."""
    return _LOOPBACK.get(host, host)


def _http_url(listening: Address) -> str:
    host = _reachable(listening.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.port}"


def _stop_signals() -> asyncio.Event:
    """Return an event that SIGINT, SIGTERM and SIGHUP set; a second signal has no effect."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup SIGHUP is ignored, and stays ignored.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stopping.set)
    return stopping


def _environment(options: Options) -> dict[str, str]:
    environment = config.read_environment()
    # A free port: another Forebay on this machine may use the default, 9100.
    environment.setdefault(_METRICS_PORT, str(postgres.free_port()))
    if options.port is not None:
        environment[_PORT] = str(options.port)
    if options.workers is not None:
        environment[_WORKERS] = str(options.workers)
    return environment


def _announce(running: Running, show: str, *, is_json: bool) -> None:
    if is_json:
        print_json(running)
    else:
        sys.stdout.write(_welcome(running, show))
    sys.stdout.flush()


def _welcome(running: Running, show: str) -> str:
    header = "Content-Type: application/json"
    curl = ("curl", "-sS", "-u", f"{running.api_key}:", f"{running.url}/v1/track")
    send = shlex.join([*curl, "-H", header, "-d", _EVENT])
    return f"""
Forebay is running.

  URL      {running.url}
  metrics  {running.metrics_url}
  API key  {running.api_key}

Send an event:

  {send}

See what is stored:

  {show}

Ctrl-C stops everything.

"""


def show_command(own_url: str | None) -> str:
    """
    Return a shell command that shows the stored events and works in any folder.

    *own_url*: URL of the embedded PostgreSQL. None if DATABASE_URL is used, which the command does
    not contain because it has a password.
    """
    installed = Path(sys.executable).with_name("provision")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "provision"]
    command = shlex.join([*program, "events", "tail"])
    return command if own_url is None else f"DATABASE_URL={shlex.quote(own_url)} {command}"
