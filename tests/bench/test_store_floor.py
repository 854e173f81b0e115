"""
The flushes that the store floor prepares.

If these tests fail: the published comparison with the bare store is wrong.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.store_floor import FlushMaker, flushes_of
from service import _native
from service.config import Config
from service.store.connections import connect, pool_config
from service.store.sql import statement

OWNERS = [(1, 1), (2, 5)]


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Any]:
    session = await connect(pool_config(Config(), database_url))
    yield session
    await session.close()


async def only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


async def test_postgresql_stores_the_prepared_rows(session: Any) -> None:
    await session.execute("SELECT ensure_event_partitions_v1(current_date - 1, current_date + 1)")
    flush = FlushMaker(OWNERS, session.row_types).make(120)

    not_inserted = await session.fetch(statement("insert_ledger"), flush.ledger_rows)
    await session.copy_to_table(
        "events", source=only(flush.copy_data), columns=_native.event_columns(), format="binary"
    )

    assert ([], 120) == (not_inserted, flush.rows)
    rows = await session.fetch(
        "SELECT id, event_id, type FROM events JOIN event_deduplication USING (tenant_id, id)"
    )
    assert 120 == len({row["id"] for row in rows}) == len({row["event_id"] for row in rows})
    assert {"track", "identify"} == {row["type"] for row in rows}


async def test_there_are_as_many_flushes_as_the_rows_need(session: Any) -> None:
    flushes = flushes_of(FlushMaker(OWNERS, session.row_types), 61, 30)

    assert [30, 30, 30] == [flush.rows for flush in flushes]
