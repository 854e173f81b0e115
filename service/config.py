"""
Every setting, its bounds and its default. The only file that reads the environment.

A variable of the environment overrides the one in the file `.env`. An invalid value stops the
start, with a message that names the variable. `.env.example` is generated from this file (`python
-m service.config`), and a test compares the two.
"""

import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import dotenv
import dotenv.parser
import msgspec
from msgspec import Meta

from service import setting_values
from service.database_url import DatabaseUrlError, parse
from service.kubernetes import is_service_variable
from service.setting_values import SettingError

PREFIX: Final = "FOREBAY_"
DATABASE_URL: Final = "DATABASE_URL"
KIB: Final = 1024
MIB: Final = 1024 * KIB
# Type of timeouts in PostgreSQL.
INT32_MAX: Final = 2**31 - 1
_VERSION: Final = r"\d{1,5}\.\d{1,5}(\.\d{1,5})?"
# As browsers send it: in lower case, without a path.
_ORIGIN: Final = r"(\*|null|[a-z][a-z0-9+.-]*://[^\s,/A-Z]+)"
# Description of a text value, used in error messages and settings.md.
_HOST_FORM: Final = {"form": "an address or a host name"}


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
    port: Annotated[int, Meta(ge=1, le=65_535, description="Port the service listens on.")] = 8000
    workers: Annotated[int, Meta(ge=1, le=512, description="Worker processes.")] = 2
    metrics_host: Annotated[
        str,
        Meta(
            pattern=r"^\S+$",
            extra=_HOST_FORM,
            description="Address of /metrics.",
        ),
    ] = "127.0.0.1"
    metrics_port: Annotated[
        int, Meta(ge=1, le=65_535, description="Port of /metrics, all workers together.")
    ] = 9100

    payload_bytes_max: Annotated[
        int, Meta(ge=1 * KIB, le=16 * MIB, description="Decoded bytes in the body of a request.")
    ] = 256 * KIB
    payload_events_max: Annotated[
        int, Meta(ge=1, le=10_000, description="Events in a batch request.")
    ] = 50
    payload_expansion_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Bytes of a batch with its context in each event; times the body limit.",
        ),
    ] = 4
    body_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=300,
            description="Time for the body of a request to arrive; after it the answer is 503.",
        ),
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

    cors_origins: Annotated[
        str,
        Meta(
            pattern=rf"^{_ORIGIN}?(\s*,\s*{_ORIGIN}?)*$",
            extra={"form": "empty, * or origins such as https://example.com, separated by commas"},
            description="Origins whose pages may send events, separated by commas; *: all.",
        ),
    ] = "*"

    batch_rows_max: Annotated[
        int, Meta(ge=1, le=50_000, description="Rows written in one transaction.")
    ] = 2_000
    batch_bytes_max: Annotated[
        int,
        Meta(
            ge=64 * KIB,
            le=256 * MIB,
            description="Memory of the rows written in one transaction, in bytes.",
        ),
    ] = 4 * MIB
    flushes_max: Annotated[
        int, Meta(ge=1, le=16, description="Concurrent transactions of a worker.")
    ] = 2
    queue_rows_max: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="Rows queued in a worker; a full queue answers 503 until it is half full.",
        ),
    ] = 20_000
    queue_bytes_max: Annotated[
        int,
        Meta(
            ge=64 * KIB,
            le=MIB * MIB,
            description="Bytes queued in a worker; a full queue answers 503 until it is half full.",
        ),
    ] = 64 * MIB
    quarantine_rows_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=INT32_MAX,
            description="Rejected events stored in quarantine per key, worker and minute.",
        ),
    ] = 600
    flush_timeout_s: Annotated[
        float,
        Meta(gt=0, le=60, description="Limit for storing events; after it the answer is 503."),
    ] = 5.0
    drain_timeout_s: Annotated[
        float, Meta(gt=0, le=300, description="Time to finish requests at a stop.")
    ] = 20.0

    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=60, description="Limit for opening a database connection.")
    ] = 3.0
    acquire_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=60,
            description="Limit for waiting until a connection is free, and for a key look-up.",
        ),
    ] = 2.0
    statement_timeout_ms: Annotated[
        int, Meta(ge=1, le=INT32_MAX, description="Limit for one statement in the database.")
    ] = 5_000
    lock_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="Limit for waiting for a row lock of another session.",
        ),
    ] = 1_000
    idle_in_transaction_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="The database ends a transaction that is idle for this long.",
        ),
    ] = 10_000
    tcp_timeout_ms: Annotated[
        int,
        Meta(
            ge=1_000,
            le=INT32_MAX,
            description="A database connection without a response for this long counts as lost.",
        ),
    ] = 10_000

    key_cache_ttl_s: Annotated[
        float, Meta(gt=0, le=3600, description="Longest use of a cached key, in seconds.")
    ] = 30.0
    key_cache_stale_max_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Longest use of a cached key, in seconds, while look-ups fail.",
        ),
    ] = 300.0
    key_cache_keys_max: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="Cached keys per worker; the cache of unknown ids has the same limit.",
        ),
    ] = 10_000

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


def read_environment(dotenv_path: Path | None = None) -> dict[str, str]:
    """
    Return the variables of `.env`, overridden by those of the environment.

    *dotenv_path*: by default `.env` in the working folder.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line of it is not NAME=value.
    """
    return _read_dotenv(dotenv_path or Path(".env")) | dict(os.environ)


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
    values = {name: _value(name, fields[name], text) for name, text in raw.items()}
    return Config(**values)


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


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        # A virtual environment may be a folder named `.env`.
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: byte {error.start} is not valid") from None
    for binding in dotenv.parser.parse_stream(io.StringIO(text)):
        if binding.error:
            # The message omits the line: it may hold a password.
            raise ConfigError(f"{path}, line {binding.original.line}, is not NAME=value")
    values = dotenv.dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in values.items() if value is not None}


def _take_connect_timeout(raw: dict[str, str], env: Mapping[str, str]) -> None:
    """Use `connect_timeout` of DATABASE_URL unless FOREBAY_CONNECT_TIMEOUT_S is set."""
    text = database_url(env)
    timeout_s = parse(text).connect_timeout_s if text else None
    if timeout_s is not None:
        raw.setdefault("connect_timeout_s", str(timeout_s))


def _value(name: str, annotation: Any, text: str) -> Any:
    try:
        return setting_values.read(annotation, text)
    except SettingError as error:
        raise ConfigError(f"{_variable(name)}={setting_values.shown(text)} {error}") from None


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
