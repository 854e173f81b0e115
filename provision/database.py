"""One connection for a command, and its faults as sentences."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from provision.errors import ProvisionError
from service import config

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CONNECT_TIMEOUT_S: Final = 10
_NO_SCHEMA: Final = "the database has no schema of Forebay, or an old one: run `provision migrate`"


def required_url() -> str:
    """
    Return `DATABASE_URL` from the environment or `.env`.

    Raises
    ------
    ProvisionError
        It is not set.
    """
    url = config.database_url()
    if url is None:
        raise ProvisionError(
            "DATABASE_URL is not set: give the PostgreSQL to work on, "
            "as in DATABASE_URL=postgresql://user:password@host:5432/forebay"
        )
    return url


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """
    Lend a connection; whatever the database refuses becomes a sentence.

    Raises
    ------
    ProvisionError
        The database cannot be reached, or has not the schema.
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
        raise ProvisionError(f"the database refused: {error}") from error
    except OSError as error:
        raise ProvisionError(f"the connection to the database broke: {error}") from error
    finally:
        connection.terminate()  # nothing is under way any more: no need to wait for a goodbye


async def _connect(url: str) -> Connection:
    try:
        return await asyncpg.connect(
            url,
            timeout=_CONNECT_TIMEOUT_S,
            server_settings={"application_name": "forebay provision", "timezone": "UTC"},
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ProvisionError(
            f"cannot connect to the database{_where(url)}: {_reason(error)}"
        ) from error


def _where(url: str) -> str:
    """Where we tried, without the password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return f" at {host}:{port or 5432}{parts.path}" if host else ""


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT_TIMEOUT_S} s"
    return str(error).partition("\n")[0] or type(error).__name__
