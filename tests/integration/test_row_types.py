"""
The rows that the core encodes fit the row types of the schema: columns, types and OIDs.

If these tests fail: after a migration or a restored backup every event gets 503.
"""

import struct
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from provision.migrate import migrate
from service._native import Plan, event_columns
from service.reasons import Reason
from service.store.connections import PoolConfig, RowTypes, connect
from tests.conftest import on_database
from tests.doubles import Sender, make_event
from tests.integration.conftest import ONE_WAY, MakeStore

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"
DROP_ROW_TYPES: Final = "DROP TYPE event_row_v1; DROP TYPE ledger_row_v1"
COLUMNS = """
    SELECT attname, atttypid::bigint FROM pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


async def columns_of(connection: Any, relation: str) -> list[tuple[str, int]]:
    """Return the columns of a table or a composite type: names, and the OIDs of their types."""
    return [tuple(row) for row in await connection.fetch(COLUMNS, relation)]


def types_written(array: bytes, oid: int) -> list[int]:
    """Return the type OIDs in the first element of an encoded array of composites."""
    dimensions, _, element, _, _, _, columns = struct.unpack_from("!iiIiiii", array)
    assert (1, oid) == (dimensions, element)
    types, offset = [], struct.calcsize("!iiIiiii")
    for _ in range(columns):
        number, length = struct.unpack_from("!Ii", array, offset)
        types.append(number)
        offset += 8 + max(length, 0)
    return types


@pytest.fixture
def plan(sender: Sender) -> Plan:
    return Plan([sender.rows(make_event("a"))])


async def test_the_core_encodes_every_column_of_events_in_order(
    connection: Any, plan: Plan
) -> None:
    written = types_written(plan.event_rows(1), 1)[2:]

    expected = await columns_of(connection, "events")
    assert expected == list(zip(event_columns(), written, strict=True))


async def test_event_row_has_a_key_a_hash_and_the_columns_of_events(
    connection: Any, plan: Plan
) -> None:
    attributes = await columns_of(connection, "event_row_v1")

    assert ["event_key", "payload_hash", *event_columns()] == [name for name, _ in attributes]
    assert [number for _, number in attributes] == types_written(plan.event_rows(7), 7)


async def test_ledger_row_has_the_columns_of_the_ledger(connection: Any, plan: Plan) -> None:
    attributes = await columns_of(connection, "ledger_row_v1")

    assert await columns_of(connection, "event_deduplication") == attributes
    assert [number for _, number in attributes] == types_written(plan.ledger_rows(7), 7)


async def test_a_connection_reads_the_oids_of_its_database(
    store_config: PoolConfig, connection: Any
) -> None:
    session = await connect(store_config)

    expected = await connection.fetchrow(
        "SELECT 'ledger_row_v1'::regtype::oid::bigint, 'event_row_v1'::regtype::oid::bigint"
    )
    assert RowTypes(*expected) == session.row_types
    session.terminate()


async def row_types(config: PoolConfig) -> RowTypes:
    session = await connect(config)
    session.terminate()
    return session.row_types


@ONE_WAY
async def test_a_pool_survives_a_database_that_is_created_again_with_other_oids(
    make_store: MakeStore,
    sender: Sender,
    connection: Any,
    postgres_url: str,
    store_config: PoolConfig,
) -> None:
    store = await make_store(connections_max=2)
    await store.write(sender.payload(make_event("a")))
    before = await row_types(store_config)
    name = await connection.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    admin.terminate()
    await migrate(on_database(postgres_url, name))

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("a")))

    assert set(before).isdisjoint(await row_types(store_config))
    assert [["duplicate"]] == await store.statuses(sender.payload(make_event("a")))


async def make_row_types(connection: Any) -> None:
    (migration,) = MIGRATIONS.glob("*_versioned_row_types.sql")
    await connection.execute(migration.read_text(encoding="utf-8"))


async def test_row_types_that_are_created_again_lose_no_event(
    make_store: MakeStore, sender: Sender, connection: Any
) -> None:
    store = await make_store(connections_max=1)
    await store.write(sender.payload(make_event("a")))
    await connection.execute(DROP_ROW_TYPES)
    await make_row_types(connection)

    assert [["accepted"]] == await store.statuses(sender.payload(make_event("b")))
    assert [["duplicate"]] == await store.statuses(sender.payload(make_event("a")))


async def test_a_connection_opened_before_the_row_types_is_replaced(
    make_store: MakeStore, sender: Sender, connection: Any
) -> None:
    await connection.execute(DROP_ROW_TYPES)
    store = await make_store(connections_max=1)
    payload = sender.payload(make_event("a"))
    if store.way == "single_statement":
        assert [Reason.STORE_UNAVAILABLE] == await store.outcomes(payload)

    await make_row_types(connection)

    assert [["accepted"]] == await store.statuses(payload)


async def test_a_connection_opened_between_two_migrations_can_be_used(
    store_config: PoolConfig, connection: Any
) -> None:
    await connection.execute("DROP TYPE ledger_row_v1")

    session = await connect(store_config)

    assert RowTypes(0, 0) == session.row_types
    session.terminate()
