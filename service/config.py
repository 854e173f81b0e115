"""
Every setting, its bounds and its default. The only file that reads the environment.

A variable of the environment overrides the one in the file `.env`. An invalid value stops the
start, with a message that names the variable. `.env.example` is generated from this file (`python
-m service.config`), and a test compares the two.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from service import env_file, setting_values
from service.database_url import DatabaseUrlError, parse
from service.env_file import EnvFileError
from service.kubernetes import is_service_variable
from service.setting_values import NETWORKS_FORM, Network, SettingError

PREFIX: Final = "FOREBAY_"
DATABASE_URL: Final = "DATABASE_URL"
KIB: Final = 1024
MIB: Final = 1024 * KIB
# Type of timeouts in PostgreSQL.
INT32_MAX: Final = 2**31 - 1
CONNECTIONS_MIN: Final = 16
# Range of the limits of a request, in the settings and of a key.
PAYLOAD_BYTES_RANGE: Final = (1 * KIB, 16 * MIB)
PAYLOAD_EVENTS_RANGE: Final = (1, 10_000)
MILLION: Final = 1_000_000
_VERSION: Final = r"\d{1,5}\.\d{1,5}(\.\d{1,5})?"
# As browsers send it: in lower case, without a path.
_ORIGIN: Final = r"(\*|null|[a-z][a-z0-9+.-]*://[^\s,/A-Z]+)"
_PUBLIC_URL: Final = (
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?"
)
# Description of a text value, used in error messages and settings.md.
_HOST_FORM: Final = {"form": "an address or a host name"}


def _number(least: int, most: int, description: str) -> Meta:
    return Meta(ge=least, le=most, description=description)


def _seconds(most: int, description: str) -> Meta:
    return Meta(gt=0, le=most, description=description)


class ConfigError(ValueError):
    """A setting is missing or out of its bounds; the message names the variable."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The settings, read once.

    Units are in the names. The description of each is the comment in `.env.example`.
    """

    host: Annotated[
        str,
        Meta(
            pattern=r"^\S+$",
            extra=_HOST_FORM,
            description="Address the service listens on.",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, _number(1, 65_535, "Port the service listens on.")] = 8000
    workers: Annotated[int, _number(1, 512, "Worker processes.")] = 2
    metrics_host: Annotated[
        str,
        Meta(
            pattern=r"^\S+$",
            extra=_HOST_FORM,
            description="Address of /metrics.",
        ),
    ] = "127.0.0.1"
    metrics_port: Annotated[int, _number(1, 65_535, "Port of /metrics, all workers together.")] = (
        9100
    )

    connections_max: Annotated[
        int,
        _number(
            CONNECTIONS_MIN,
            MILLION,
            "Client connections of a worker; near it the longest idle ones are closed.",
        ),
    ] = 10_000
    connections_per_address_max: Annotated[
        int, _number(0, MILLION, "Connections of one client address to a worker; 0: no limit.")
    ] = 1_000
    trusted_proxies: Annotated[
        str,
        Meta(
            pattern=r"^[0-9A-Fa-f.:/,\s]*$",
            extra={"form": NETWORKS_FORM},
            description="Addresses without that limit, separated by commas: proxies, own networks.",
        ),
    ] = "127.0.0.0/8, ::1, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7"
    requests_max: Annotated[
        int,
        _number(
            1,
            MILLION,
            "Concurrent requests with events in a worker, of one key half of that; above it, 503.",
        ),
    ] = 2_048
    idle_timeout_s: Annotated[
        float, _seconds(86_400, "A connection without a request for this long is closed.")
    ] = 75.0
    header_timeout_s: Annotated[
        float,
        _seconds(300, "Time for the headers of a request; after it the connection is closed."),
    ] = 10.0
    answer_timeout_s: Annotated[
        float, _seconds(300, "Time for a client to receive its answer; after it, a reset.")
    ] = 30.0

    read_buffer_bytes: Annotated[
        int,
        _number(
            16 * KIB, MIB, "Read buffer of a client connection; the headers of a request must fit."
        ),
    ] = 64 * KIB
    payload_bytes_max: Annotated[
        int, _number(*PAYLOAD_BYTES_RANGE, "Decoded bytes in the body of a request.")
    ] = 256 * KIB
    payload_events_max: Annotated[
        int, _number(*PAYLOAD_EVENTS_RANGE, "Events in a batch request.")
    ] = 50
    payload_expansion_max: Annotated[
        int,
        _number(1, 1_000, "Bytes of a batch with its context in each event; times the body limit."),
    ] = 4
    bodies_bytes_max: Annotated[
        int,
        _number(
            64 * KIB,
            MIB * MIB,
            "Bytes of incomplete bodies in a worker; above it, 503.",
        ),
    ] = 32 * MIB
    body_timeout_s: Annotated[
        float,
        _seconds(300, "Time for the body of a request to arrive; after it the answer is 503."),
    ] = 10.0
    schema_version_default: Annotated[
        str,
        Meta(
            pattern=f"^{_VERSION}$",
            extra={"form": "a version such as 1.0 or 1.0.0"},
            description="Schema version of events sent without X-Event-Schema-Version.",
        ),
    ] = "1.0"
    schema_versions_supported: Annotated[
        str,
        Meta(
            pattern=rf"^({_VERSION})?(\s*,\s*({_VERSION})?)*$",
            extra={"form": "empty or versions such as 1.0, separated by commas"},
            description="Accepted schema versions, separated by commas; empty: all.",
        ),
    ] = ""
    clock_skew_min_s: Annotated[
        int,
        _number(0, INT32_MAX, "sentAt corrects times if it is this much before the arrival."),
    ] = 30 * 86_400

    cors_origins: Annotated[
        str,
        Meta(
            pattern=rf"^{_ORIGIN}?(\s*,\s*{_ORIGIN}?)*$",
            extra={"form": "empty, * or origins such as https://example.com, separated by commas"},
            description="Origins whose pages may send events, separated by commas; *: all.",
        ),
    ] = "*"
    public_url: Annotated[
        str,
        Meta(
            pattern=rf"^({_PUBLIC_URL})?$",
            extra={"form": "empty or a URL such as https://events.example.com"},
            description="URL of the service for browsers; empty: as a page has requested it.",
        ),
    ] = ""

    batch_rows_max: Annotated[int, _number(1, 50_000, "Rows written in one transaction.")] = 2_000
    batch_bytes_max: Annotated[
        int,
        _number(64 * KIB, 256 * MIB, "Memory of the rows written in one transaction, in bytes."),
    ] = 4 * MIB
    flushes_max: Annotated[int, _number(1, 16, "Concurrent transactions of a worker.")] = 2
    light_key_bytes_max: Annotated[
        int,
        _number(
            1 * KIB,
            256 * MIB,
            "A key with more in one transaction of a worker, counting 1 KiB for each row too, gets"
            " transactions apart from the other keys.",
        ),
    ] = 128 * KIB
    heavy_batch_bytes_max: Annotated[
        int,
        _number(
            64 * KIB,
            256 * MIB,
            "Limit for one of these transactions while other keys send, counted in the same way.",
        ),
    ] = 1 * MIB
    scan_turn_bytes: Annotated[
        int,
        _number(
            8 * KIB,
            16 * MIB,
            "Bytes of large bodies that are scanned before other requests go on.",
        ),
    ] = 64 * KIB
    queue_rows_max: Annotated[
        int,
        _number(
            1,
            INT32_MAX,
            "Rows queued in a worker; at the limit it answers 503 until the queue is half empty; if"
            " a few keys have filled it, to these only.",
        ),
    ] = 20_000
    queue_bytes_max: Annotated[
        int,
        _number(
            64 * KIB,
            MIB * MIB,
            "Bytes queued in a worker; at the limit as above.",
        ),
    ] = 64 * MIB
    quarantine_rows_per_minute: Annotated[
        int,
        _number(
            0, INT32_MAX, "Rejected events stored in quarantine per key and minute, by all workers."
        ),
    ] = 600
    quarantine_bytes_per_minute: Annotated[
        int,
        _number(
            0, MIB * MIB, "Bytes of rejected events stored per key and minute, by all workers."
        ),
    ] = 16 * MIB
    quarantine_bytes_max: Annotated[
        int,
        _number(
            0,
            KIB * MIB * MIB,
            "Disk space of rejected_events; at this limit no rejected event is stored.",
        ),
    ] = 10 * KIB * MIB
    flush_timeout_s: Annotated[
        float,
        _seconds(60, "Limit for storing events; after it the answer is 503."),
    ] = 5.0
    drain_timeout_s: Annotated[float, _seconds(300, "Time to finish requests at a stop.")] = 20.0

    connect_timeout_s: Annotated[
        float, _seconds(60, "Limit for opening a database connection.")
    ] = 3.0
    acquire_timeout_s: Annotated[
        float,
        _seconds(60, "Limit for waiting until a connection is free, and for a key look-up."),
    ] = 2.0
    statement_timeout_ms: Annotated[
        int, _number(1, INT32_MAX, "Limit for one statement in the database.")
    ] = 5_000
    lock_timeout_ms: Annotated[
        int,
        _number(1, INT32_MAX, "Limit for waiting for a row lock of another session."),
    ] = 1_000
    idle_in_transaction_timeout_ms: Annotated[
        int,
        _number(1, INT32_MAX, "The database ends a transaction that is idle for this long."),
    ] = 10_000
    tcp_timeout_ms: Annotated[
        int,
        _number(
            1_000,
            INT32_MAX,
            "A database connection without a response for this long counts as lost.",
        ),
    ] = 10_000

    key_events_per_second: Annotated[
        int,
        _number(0, MILLION, "Events per second of a key without a limit of its own; 0: no limit."),
    ] = 0
    key_cache_ttl_s: Annotated[
        float, _seconds(3600, "Longest use of a cached key, in seconds.")
    ] = 30.0
    key_cache_stale_max_s: Annotated[
        float,
        _number(0, 86_400, "Longest use of a cached key, in seconds, while look-ups fail."),
    ] = 300.0
    key_cache_keys_max: Annotated[
        int,
        _number(
            1, INT32_MAX, "Cached keys per worker; the cache of unknown ids has the same limit."
        ),
    ] = 10_000
    key_stale_after_ms: Annotated[
        int,
        _number(
            1, 60_000, "Longest wait of a request for a look-up of a cached key, in milliseconds."
        ),
    ] = 250
    key_lookups_max: Annotated[
        int,
        _number(1, INT32_MAX, "Unknown keys waiting for a look-up, per worker; at this limit 503."),
    ] = 10_000
    key_lookup_pause_ms: Annotated[
        int,
        _number(
            0, 1_000, "Pause between two look-ups of unknown keys, in which further ones gather."
        ),
    ] = 10
    unauthorized_per_second: Annotated[
        int,
        _number(1, 1_000_000, "Answers 401 of a worker per second; further ones are delayed."),
    ] = 50
    unauthorized_delay_max_ms: Annotated[
        int,
        _number(0, 10_000, "Longest delay of an answer 401, in milliseconds; 0: none."),
    ] = 2_000
    unauthorized_delayed_max: Annotated[
        int,
        _number(
            0, 1_000_000, "Answers 401 delayed at the same time, per worker; further ones are not."
        ),
    ] = 4_000

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="auto: console on a terminal, else one JSON object per line."),
    ] = "auto"
    request_log: Annotated[bool, Meta(description="Log one line per request.")] = True

    @property
    def schema_versions(self) -> frozenset[str]:
        """The supported schema versions; empty means all."""
        return _split(self.schema_versions_supported)

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may send events."""
        return _split(self.cors_origins)

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        """The networks without a limit of connections per address."""
        return setting_values.networks(self.trusted_proxies)


def read_environment(dotenv_path: Path | None = None) -> dict[str, str]:
    """
    Return the variables of `.env`, overridden by those of the environment.

    *dotenv_path*: by default `.env` in the working folder.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line of it is not NAME=value.
    """
    try:
        values = env_file.read(dotenv_path or Path(".env"))
    except EnvFileError as error:
        raise ConfigError(str(error)) from None
    return values | dict(os.environ)


def load(environment: Mapping[str, str] | None = None) -> Config:
    """
    Read and check the settings.

    Raises
    ------
    ConfigError
        A value is out of its bounds, or a `FOREBAY_` name is not a setting.
    """
    env = read_environment() if environment is None else environment
    ignored = ignored_variables(env)
    raw = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in env.items()
        if name.startswith(PREFIX) and name not in ignored
    }
    for field in raw:
        if field not in Config.__struct_fields__:
            raise ConfigError(f"{_variable(field)} is not a setting of Forebay; see .env.example")
    _take_connect_timeout(raw, env)
    fields = {field.name: field.type for field in msgspec.structs.fields(Config)}
    settings = Config(**{name: _value(name, fields[name], text) for name, text in raw.items()})
    _require_networks(settings)
    return settings


def ignored_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the `FOREBAY_` names that Kubernetes made for a Service: they are not settings."""
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX) and is_service_variable(name, value)
    )


def database_url(environment: Mapping[str, str] | None = None) -> str | None:
    """
    Return `DATABASE_URL`; None if it is not set or empty.

    It is not a field of Config, because it contains a password.

    Raises
    ------
    ConfigError
        The URL cannot be used; the message quotes nothing of the password.
    """
    env = read_environment() if environment is None else environment
    text = env.get(DATABASE_URL, "").strip()
    if not text:
        return None
    try:
        parse(text)
    except DatabaseUrlError as error:
        raise ConfigError(str(error)) from None
    return text


def example() -> str:
    """Return the text of `.env.example`: every setting, its default and one comment."""
    lines = [
        "# Every setting of Forebay with its default. Copy to .env and change what you need.",
        "",
        "# PostgreSQL to write to. `make run` brings its own when this is not set.",
        "#DATABASE_URL=postgresql://user:password@localhost:5432/forebay",
    ]
    for field in msgspec.structs.fields(Config):
        lines += ["", f"# {_description(field.type)}", f"{_variable(field.name)}={_text(field)}"]
    return "\n".join(lines) + "\n"


def _take_connect_timeout(raw: dict[str, str], env: Mapping[str, str]) -> None:
    """Use `connect_timeout` of DATABASE_URL unless FOREBAY_CONNECT_TIMEOUT_S is set."""
    text = database_url(env)
    timeout_s = parse(text).connect_timeout_s if text else None
    if timeout_s is not None:
        raw.setdefault("connect_timeout_s", str(timeout_s))


def _require_networks(settings: Config) -> None:
    try:
        _ = settings.trusted_networks
    except SettingError as error:
        raise _wrong("trusted_proxies", settings.trusted_proxies, error) from None


def _value(name: str, annotation: Any, text: str) -> Any:
    try:
        return setting_values.read(annotation, text)
    except SettingError as error:
        raise _wrong(name, text, error) from None


def _wrong(name: str, text: str, error: SettingError) -> ConfigError:
    return ConfigError(f"{_variable(name)}={setting_values.shown(text)} {error}")


def _split(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _description(annotation: Any) -> str:
    meta = next(part for part in annotation.__metadata__ if isinstance(part, Meta))
    return str(meta.description)


def _text(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.stdout.write(example())
