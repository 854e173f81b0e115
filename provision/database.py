"""Database access of the commands: URL, connection, SQL statements, and error messages."""

import contextlib
import re
from collections.abc import AsyncIterator
from functools import cache, partial
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg

from provision.errors import ProvisionError
from service import config
from service.database_url import DatabaseUrl, DatabaseUrlError, parse
from service.store.errors import connect_reason
from service.store.pooler import PoolerError, enter_session, require_session_pooling

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CONNECT_TIMEOUT_S: Final = 10
_APPLICATION_NAME: Final = "forebay provision"
_QUERIES: Final = Path(__file__).with_name("queries.sql")
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_NO_SCHEMA: Final = "the database has no Forebay schema, or an old one: run `provision migrate`"


def required_url() -> str:
    """
    Return `DATABASE_URL` from the environment or `.env`.

    Raises
    ------
    ProvisionError, ConfigError
        DATABASE_URL is not set, or is not valid.
    """
    url = config.database_url()
    if url is None:
        raise ProvisionError(
            "DATABASE_URL is not set: set it to the URL of a PostgreSQL database, "
            "such as DATABASE_URL=postgresql://user:password@host:5432/forebay"
        )
    return url


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """
    Open a connection for a `with` block, and convert database errors to ProvisionError.

    Raises
    ------
    ProvisionError
        The database cannot be reached, refuses a statement, or does not have the schema.
    """
    connection = await _connect(url)
    try:
        yield connection
    except (
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.UndefinedFunctionError,
    ) as error:
        raise ProvisionError(_NO_SCHEMA) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The first line has the message; hints and details follow it.
        reason = str(error).partition("\n")[0]
        raise ProvisionError(f"the database returned an error: {reason}") from error
    except OSError as error:
        raise ProvisionError(f"the connection to the database was lost: {error}") from error
    finally:
        connection.terminate()  # no statement is running


async def _connect(url: str) -> Connection:
    try:
        parsed = parse(url)
    except DatabaseUrlError as error:
        raise ProvisionError(str(error)) from None
    try:
        return await _open_own_session(parsed)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ProvisionError(
            f"cannot connect to the database at {parsed.place}:"
            f" {connect_reason(error, parsed.server_settings)}"
        ) from None
    except PoolerError as error:
        raise ProvisionError(str(error)) from None


async def _open_own_session(parsed: DatabaseUrl) -> Connection:
    connection = await _open(parsed)
    try:
        await require_session_pooling(connection, partial(_open, parsed))
        await enter_session(connection, parsed.server_settings | _own_settings(parsed))
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _open(parsed: DatabaseUrl) -> Connection:
    return await asyncpg.connect(
        parsed.url,
        timeout=parsed.connect_timeout_s or _CONNECT_TIMEOUT_S,
        server_settings=_own_settings(parsed),
    )


def _own_settings(parsed: DatabaseUrl) -> dict[str, str]:
    return {
        "application_name": parsed.application_name or _APPLICATION_NAME,
        "timezone": "UTC",
    }


def statement(name: str) -> str:
    """Return the statement *name* of queries.sql; raise KeyError if there is none."""
    return _statements()[name]


@cache
def _statements() -> dict[str, str]:
    _, *parts = _NAME.split(_QUERIES.read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}
