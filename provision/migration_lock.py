"""The lock that lets one `provision migrate` at a time change a database."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from provision.database import Connection
from provision.errors import ProvisionError
from provision.output import print_message
from provision.sql import statement

# Longer than the migrations of a large database take.
LOCK_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.1
# In seconds: shorter waits, as of commands that start together, are not reported.
_QUIET_S: Final = 2.0


async def take_migration_lock(
    connection: Connection, timeout_s: float, say: Callable[[str], None] = print_message
) -> None:
    """
    Take the lock, and hold it until *connection* ends; *say* reports the session that holds it.

    Raises
    ------
    ProvisionError
        Another session holds the lock for longer than *timeout_s*; the message names it.
    """
    started = time.monotonic()
    said = None
    while not await connection.fetchval(statement("try_lock_migrations")):
        holder = await connection.fetchrow(statement("find_migration_lock_holder"))
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise ProvisionError(
                f"another `provision migrate` holds its lock for longer than {timeout_s:g} s"
                f" ({_described(holder)}): wait for it, or end it with"
                f" SELECT pg_terminate_backend({holder['pid'] if holder else 'pid'}); nothing was"
                " changed"
            )
        if holder is not None and waited_s >= min(_QUIET_S, timeout_s / 2) and said != holder:
            said = holder
            say(f"waiting for another `provision migrate` ({_described(holder)})")
        await asyncio.sleep(_POLL_S)


def _described(holder: Any) -> str:
    if holder is None:
        return "it has just ended"
    return (
        f"pid {holder['pid']}, application {holder['application_name']!a},"
        f" client {holder['client'] or 'on the local socket'},"
        f" connected since {holder['backend_start']:%Y-%m-%d %H:%M:%S} UTC, {holder['state']}"
    )
