"""A running service with its database, and helpers that send events and read rows."""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import asyncpg
import httpx

from provision.keys import NewKey, Profile
from provision.tenants import create_tenant
from tests.acceptance.running import Service

TIMEOUT_S: Final = 30.0
_CLIENTS_MAX: Final = 200

Row = dict[str, Any]


class Site:
    """A service and its database. Tenants have random names, so that tests can share a site."""

    def __init__(self, service: Service, database_url: str) -> None:
        self.service = service
        self.database_url = database_url

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """Open a connection to the database during the block."""
        connection = await asyncpg.connect(self.database_url)
        try:
            yield connection
        finally:
            connection.terminate()

    async def make_key(self, profile: Profile = Profile.DEFAULT) -> NewKey:
        """Make a tenant with one API key."""
        async with self.database() as connection:
            name = f"tenant-{secrets.token_hex(6)}"
            return await create_tenant(connection, name, profile=profile)

    def client(self, key: NewKey | None = None, **options: Any) -> httpx.AsyncClient:
        """Return a client that sends *key* with every request."""
        auth = None if key is None else (key.api_key, "")
        return httpx.AsyncClient(
            base_url=self.service.url, auth=auth, timeout=TIMEOUT_S, verify=False, **options
        )

    @contextlib.asynccontextmanager
    async def client_of_each_worker(
        self, key: NewKey | None = None
    ) -> AsyncIterator[dict[int, httpx.AsyncClient]]:
        """Open one client per worker, by process id; each client keeps one connection open."""
        one = httpx.Limits(max_connections=1)
        found: dict[int, httpx.AsyncClient] = {}
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(_CLIENTS_MAX):
                client = await stack.enter_async_context(self.client(key, limits=one))
                found.setdefault(await self._worker_of(client), client)
                if len(found) == self.service.workers:
                    break
            assert self.service.workers == len(found)
            yield found

    async def _worker_of(self, client: httpx.AsyncClient) -> int:
        """Return the process id of the worker at the other end of the client's connection."""
        answer = await client.get("/health/live")
        stream = answer.extensions["network_stream"]
        return self.service.worker_of(client_port=stream.get_extra_info("client_addr")[1])

    async def rows(self, key: NewKey) -> list[Row]:
        """Return the stored events of the key's tenant, by their time of arrival."""
        query = (
            "SELECT *, base36(id) AS id36, base36(request_id) AS request_id36"
            " FROM events WHERE tenant_id = $1 ORDER BY received_at, id"
        )
        async with self.database() as connection:
            await _read_json(connection)
            return [dict(row) for row in await connection.fetch(query, key.tenant_id)]

    async def row(self, key: NewKey) -> Row:
        """Return the tenant's only event."""
        (row,) = await self.rows(key)
        return row

    @contextlib.asynccontextmanager
    async def held(self, key: NewKey, *event_ids: str) -> AsyncIterator[None]:
        """Lock the ledger rows of these events during the block, as an open transaction does."""
        insert = "INSERT INTO event_deduplication VALUES ($1, event_key($2), 1, 1, now())"
        async with self.database() as holder:
            await holder.execute("BEGIN")
            await holder.executemany(insert, [(key.tenant_id, each) for each in event_ids])
            yield
            await holder.execute("ROLLBACK")

    async def lock_waits(self) -> int:
        """Return how many sessions of the database wait for a lock."""
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with self.database() as connection:
            count: int = await connection.fetchval(query)
        return count

    async def event_ids(self, key: NewKey) -> list[str]:
        return [row["event_id"] for row in await self.rows(key)]

    async def rejected(self, key: NewKey) -> list[Row]:
        """Return the quarantined events of the key's tenant, by their time of arrival."""
        query = "SELECT * FROM rejected_events WHERE tenant_id = $1 ORDER BY received_at, id"
        async with self.database() as connection:
            return [dict(row) for row in await connection.fetch(query, key.tenant_id)]


def track(event_id: str | None = None, **members: Any) -> dict[str, Any]:
    """Return a track event as a client sends it."""
    given = {} if event_id is None else {"event_id": event_id}
    return {"type": "track", "event": "Order Completed", "user_id": "u1"} | given | members


def tracks(event_ids: Iterable[str]) -> dict[str, Any]:
    """Return a batch of track events."""
    return {"batch": [track(event_id) for event_id in event_ids]}


def new_ids(count: int) -> list[str]:
    """Return new event ids."""
    prefix = secrets.token_hex(6)
    return [f"{prefix}-{number}" for number in range(count)]


async def _read_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )
