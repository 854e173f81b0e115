"""Parameters of DATABASE_URL: those that asyncpg supports, and advice about the others."""

import re
from pathlib import Path
from typing import Final, Literal

# The component that uses a parameter.
Use = Literal["driver", "server", "forebay", "none"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# Paths of files that asyncpg reads.
_FILES: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"})
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# Parameters that asyncpg supports, with their values; None: any value.
_DRIVER: Final[dict[str, tuple[str, ...] | None]] = {
    **dict.fromkeys(("host", "port", "dbname", "database", "user", "password", "service")),
    **dict.fromkeys(("sslpassword", "krbsrvname", "gsslib")),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    # Forebay writes, so it cannot use a standby.
    "target_session_attrs": ("any", "primary", "read-write"),
}
# Parameters of libpq that asyncpg ignores, with the values that describe what asyncpg does anyway.
_HARMLESS: Final[dict[str, tuple[str, ...] | None]] = {
    "fallback_application_name": None,
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "keepalives": ("1",),
    "load_balance_hosts": ("disable",),
    "max_protocol_version": ("3.0", "latest"),
    "min_protocol_version": ("3.0",),
    "replication": ("false", "off", "no", "0"),
    "requiressl": ("0",),
    "sslcertmode": ("allow",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    # The code sets the encoding and the time zone of each session.
    "client_encoding": ("utf8", "utf-8", "UTF8", "UTF-8", "auto"),
    "timezone": ("UTC",),
}
_FOREBAY: Final = frozenset({"connect_timeout", "application_name"})
_TCP: Final = "set FOREBAY_TCP_TIMEOUT_MS instead"
_REMOVE: Final = "remove it"
_ADVICE: Final = {
    "channel_binding": f"{_REMOVE}, and use sslmode=verify-full to verify the server",
    "gssencmode": f"{_REMOVE}, and encrypt with sslmode=require",
    "hostaddr": "write the address as the host",
    "idle_in_transaction_session_timeout": "set FOREBAY_IDLE_IN_TRANSACTION_TIMEOUT_MS instead",
    "keepalives": _TCP,
    "keepalives_count": _TCP,
    "keepalives_idle": _TCP,
    "keepalives_interval": _TCP,
    "load_balance_hosts": f"{_REMOVE}; several hosts are tried in their order",
    "lock_timeout": "set FOREBAY_LOCK_TIMEOUT_MS instead",
    "oauth_client_id": f"{_REMOVE}, and use a password or a certificate",
    "oauth_client_secret": f"{_REMOVE}, and use a password or a certificate",
    "oauth_issuer": f"{_REMOVE}, and use a password or a certificate",
    "oauth_scope": f"{_REMOVE}, and use a password or a certificate",
    "pgbouncer": f"{_REMOVE}; connect directly, or through a pooler in session mode",
    "require_auth": f"{_REMOVE}, and use sslmode=verify-full to verify the server",
    "requirepeer": f"{_REMOVE}, and use sslmode=verify-full to verify the server",
    "requiressl": "use sslmode=require",
    "schema": "use search_path",
    "scram_client_key": "give the password",
    "scram_server_key": "give the password",
    "servicefile": "set the environment variable PGSERVICEFILE",
    "ssl": "use sslmode=require or sslmode=disable",
    "sslcrldir": "use sslcrl, with one file",
    "sslkeylogfile": "set the environment variable SSLKEYLOGFILE",
    "statement_timeout": "set FOREBAY_STATEMENT_TIMEOUT_MS instead",
    "tcp_keepalives_count": _TCP,
    "tcp_keepalives_idle": _TCP,
    "tcp_keepalives_interval": _TCP,
    "tcp_user_timeout": _TCP,
}
_CONNECT_TIMEOUT_MAX_S: Final = 60


class UrlParameterError(ValueError):
    """A parameter is not supported; the message names it, and says what to do."""


def checked_parameter(name: str, value: str, *, is_name_secret: bool) -> Use:
    """
    Return the component that uses the parameter.

    *is_name_secret*: the parameter follows a password, so no message quotes an unknown name. The
    name may be a part of the password, if that has an unescaped &.

    Raises
    ------
    UrlParameterError
        Forebay does not support the parameter, or its value.
    """
    if name in _FILES:
        _require_readable(name, value)
        return "driver"
    if name in _DRIVER:
        _require_allowed(name, value, _DRIVER[name])
        return "driver"
    if name in _FOREBAY:
        if name == "connect_timeout":
            _require_seconds(name, value)
        return "forebay"
    if name in _HARMLESS or name in _ADVICE:
        _require_allowed(name, value, _HARMLESS.get(name, ()))
        return "none"
    if is_name_secret or not _NAME.fullmatch(name):
        raise UrlParameterError(
            "a parameter after the ? is not a parameter of PostgreSQL: write & in a password as"
            " %26, and put settings of the server before the password"
        )
    # The server gets any other name as a setting, and rejects unknown names.
    return "server"


def _require_allowed(name: str, value: str, allowed: tuple[str, ...] | None) -> None:
    if allowed is None or value in allowed:
        return
    if name in _ADVICE:
        only = f" but {' or '.join(allowed)}" if allowed else ""
        raise UrlParameterError(f"Forebay does not support {name}{only}: {_ADVICE[name]}")
    raise UrlParameterError(f"{name} has to be {' or '.join(allowed)}")


def _require_readable(name: str, value: str) -> None:
    if name == "sslrootcert" and value == "system":
        raise UrlParameterError(
            "Forebay does not support sslrootcert=system: give the file, such as"
            " /etc/ssl/certs/ca-certificates.crt"
        )
    try:
        with Path(value).open("rb"):
            pass
    except OSError as error:
        raise UrlParameterError(f"the file of {name} cannot be read ({error.strerror})") from None


def _require_seconds(name: str, value: str) -> None:
    is_whole = value.isascii() and value.isdigit()
    if not is_whole or not 1 <= int(value[:9]) <= _CONNECT_TIMEOUT_MAX_S:
        raise UrlParameterError(
            f"{name} has to be a whole number of seconds from 1 to {_CONNECT_TIMEOUT_MAX_S}"
        )
