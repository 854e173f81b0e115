"""
The measured size of the quarantine table.

If these tests fail: rejected events fill the disk, or none are kept although there is room.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

from service.store.connections import PoolConfig, open_pool
from service.store.quarantine import quarantine_bytes

_INSERT = (
    "INSERT INTO rejected_events (id, tenant_id, workspace_id, code, message, payload, request_id,"
    " received_at) VALUES ($1, 1, 1, 'missing_field', '', $2, 1, $3)"
)


async def test_the_size_grows_with_the_rows_of_every_partition(
    store_config: PoolConfig, connection: Any
) -> None:
    pool = await open_pool(store_config)
    try:
        await connection.fetch("SELECT ensure_event_partitions_v1(current_date, current_date + 1)")
        empty = await quarantine_bytes(pool)
        payload, now = secrets.token_bytes(1_000_000), datetime.now(UTC)
        await connection.execute(_INSERT, 1, payload, now)

        stored = await quarantine_bytes(pool)

        assert 1_000_000 < stored - empty < 2_000_000
    finally:
        pool.terminate()


async def test_without_a_table_the_size_is_zero(store_config: PoolConfig, connection: Any) -> None:
    pool = await open_pool(store_config)
    try:
        await connection.execute("ALTER TABLE rejected_events RENAME TO elsewhere")

        assert 0 == await quarantine_bytes(pool)
    finally:
        pool.terminate()
