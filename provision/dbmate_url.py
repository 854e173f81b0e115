"""
The URL for dbmate, whose driver supports other parameters than asyncpg.

The URL names what the connection of `provision` has reached: one address, the user, the database
and the same encryption. So several hosts, a service file and the environment are resolved once.
"""

from pathlib import PurePath
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from service.database_url import DatabaseUrl

# Modes that negotiate, which dbmate's driver cannot do.
_SSL_MODES_NEGOTIATED: Final = frozenset({"allow", "prefer"})
_CERTIFICATES: Final[tuple[str, ...]] = ("sslrootcert", "sslcert", "sslkey", "sslpassword")
_APPLICATION_NAME: Final = "forebay provision migrate"
# A socket's file is named like .s.PGSQL.5432.
_SOCKET_PREFIX: Final = ".s.PGSQL."


class Reached(NamedTuple):
    """Server, user and database of a connection."""

    address: tuple[str, int] | str
    """Host and port, or the file of a socket."""
    user: str
    password: str | None
    database: str
    ssl_mode: str
    has_ssl: bool


def reached(connection: Any, *, has_ssl: bool) -> Reached:
    """Return server, user and database of *connection*."""
    parameters = connection._params  # noqa: SLF001 - asyncpg has no public name for it
    return Reached(
        address=connection._addr,  # noqa: SLF001
        user=parameters.user,
        password=parameters.password,
        database=parameters.database,
        ssl_mode=parameters.sslmode.name.replace("_", "-"),
        has_ssl=has_ssl,
    )


def dbmate_url(target: Reached, parsed: DatabaseUrl) -> str:
    """Return the URL of *target* with the certificates and the server's settings of *parsed*."""
    query: dict[str, str] = {
        name: parsed.driver[name] for name in _CERTIFICATES if name in parsed.driver
    }
    query["sslmode"] = target.ssl_mode
    if target.ssl_mode in _SSL_MODES_NEGOTIATED:
        query["sslmode"] = "require" if target.has_ssl else "disable"
    if isinstance(target.address, str):
        socket = PurePath(target.address)
        query["host"] = str(socket.parent)
        host, port = "", socket.name.removeprefix(_SOCKET_PREFIX)
    else:
        host, port = target.address[0], str(target.address[1])
    login = quote(target.user, safe="")
    if target.password:
        login += ":" + quote(target.password, safe="")
    host = f"[{host}]" if ":" in host else quote(host, safe="")
    query |= parsed.server_settings
    query["application_name"] = parsed.application_name or _APPLICATION_NAME
    database = quote(target.database, safe="")
    return f"postgres://{login}@{host}:{port}/{database}?{urlencode(query, quote_via=quote)}"
