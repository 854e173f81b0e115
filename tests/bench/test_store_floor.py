"""The flushes of the store floor are rows that PostgreSQL takes, as large as the service's."""

import io
from typing import Any

import pytest

from bench.floors.rows import COLUMNS, Flush, Flushes, Owner
from service.store.transaction import EVENT_COLUMNS

OWNERS = [Owner(1, 1), Owner(2, 5)]


@pytest.fixture
def flush() -> Flush:
    return Flushes(OWNERS, seed=1).make(200)


def test_a_flush_is_sorted_by_the_key_of_the_ledger(flush: Flush) -> None:
    keys = list(zip(*flush.ledger[:2], strict=True))

    assert sorted(set(keys)) == keys
    assert len(keys) == 200


def test_the_columns_are_those_that_the_service_writes() -> None:
    assert EVENT_COLUMNS == COLUMNS


async def test_postgresql_reads_what_was_made(connection: Any, flush: Flush) -> None:
    await connection.execute("SELECT ensure_event_partitions(current_date - 1, current_date + 1)")

    await connection.copy_to_table(
        "events", source=io.BytesIO(flush.copy), columns=COLUMNS, format="binary"
    )

    row = await connection.fetchrow("SELECT * FROM events WHERE type = 'track' LIMIT 1")
    assert row is not None
    assert row["event"] == "Order Completed"
    assert '"currency": "EUR"' in row["properties"]
    assert await connection.fetchval("SELECT count(DISTINCT id) FROM events") == 200
    ids = await connection.fetch("SELECT id FROM events ORDER BY tenant_id, event_key(event_id)")
    assert [record["id"] for record in ids] == flush.ledger[2]
