"""The flushes of the store floor are rows that PostgreSQL takes, as many as were asked for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.floors.rows import Flushes, Owner, batches
from service import _native
from service.config import Config
from service.store.connections import connect, pool_config
from service.store.sql import statement

OWNERS = [Owner(1, 1), Owner(2, 5)]


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Any]:
    session = await connect(pool_config(Config(), database_url))
    yield session
    await session.close()


async def only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def test_postgresql_reads_what_was_made(session: Any) -> None:
    await session.execute("SELECT ensure_event_partitions_v1(current_date - 1, current_date + 1)")
    flush = Flushes(OWNERS, session.row_types, seed=1).make(120)

    late = await session.fetch(statement("insert_ledger"), flush.ledger)
    await session.copy_to_table(
        "events", source=only(flush.copy), columns=_native.event_columns(), format="binary"
    )

    assert [] == late
    assert 120 == flush.rows
    rows = await session.fetch(
        "SELECT id, event_id, type FROM events JOIN event_deduplication USING (tenant_id, id)"
    )
    assert 120 == len({row["id"] for row in rows}) == len({row["event_id"] for row in rows})
    assert {"track", "identify"} == {row["type"] for row in rows}


async def test_there_are_as_many_flushes_as_the_rows_need(session: Any) -> None:
    flushes = Flushes(OWNERS, session.row_types, seed=1)

    assert [30, 30, 30] == [flush.rows for flush in batches(flushes, 61, 30)]
