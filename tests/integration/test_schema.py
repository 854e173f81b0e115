"""
Checks before the service starts: schema, server, its capacity and privileges of the role.

If these tests fail: the service starts and cannot store events, or its refusal to start does not
name the statement that an operator has to run.
"""

import time
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from service.clock import SystemClock
from service.reasons import RefusedError
from service.store.attempt import FlushRetrier
from service.store.connections import PoolConfig, connect, open_pool
from service.store.errors import UnsafeSessionError
from service.store.outcomes import EventStore
from service.store.partitions import require_partition
from service.store.schema import SCHEMA_VERSION, SchemaError, check_database, missing_rights
from tests.conftest import MakeRole, Role
from tests.doubles import Sender, always, make_event

ROOT: Final = Path(__file__).parents[2]
CONNECTIONS: Final = 10
EXECUTE: Final = "GRANT EXECUTE ON FUNCTION ensure_event_partitions_v1(date,date) TO"
NEWER = f"{int(SCHEMA_VERSION) + 1:04}"
APPLY = "INSERT INTO schema_checksums VALUES ($1, repeat('0', 64), $2)"


async def test_a_migrated_database_is_accepted(store_config: PoolConfig) -> None:
    await check_database(store_config, 10)


async def test_an_empty_database_has_to_be_migrated(
    store_config: PoolConfig, bare_database_url: str
) -> None:
    bare = msgspec.structs.replace(store_config, url=bare_database_url)

    with pytest.raises(SchemaError, match="no Forebay schema: run provision migrate"):
        await check_database(bare, 10)


@pytest.mark.parametrize("applied", ["version < '0003'", "false"])
async def test_an_older_schema_has_to_be_migrated(
    store_config: PoolConfig, connection: Any, applied: str
) -> None:
    await connection.execute(f"DELETE FROM schema_checksums WHERE NOT ({applied})")

    with pytest.raises(SchemaError, match="run provision migrate"):
        await check_database(store_config, 10)


async def test_a_newer_compatible_schema_is_accepted(
    store_config: PoolConfig, connection: Any
) -> None:
    await connection.execute(APPLY, NEWER, False)

    await check_database(store_config, 10)


async def test_a_newer_breaking_schema_is_refused(
    store_config: PoolConfig, connection: Any
) -> None:
    await connection.execute(APPLY, NEWER, True)
    await connection.execute(APPLY, "9999", False)

    with pytest.raises(SchemaError, match=f"its version {NEWER} does not fit"):
        await check_database(store_config, 10)


async def test_more_connections_than_the_server_allows_are_refused(
    store_config: PoolConfig, connection: Any
) -> None:
    capacity = await connection.fetchval(
        "SELECT current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
    )

    await check_database(store_config, capacity - 1)
    with pytest.raises(SchemaError, match=f"{capacity} connections.*lower FOREBAY_WORKERS"):
        await check_database(store_config, capacity)


async def test_an_unsafe_database_is_refused_at_boot(
    store_config: PoolConfig, connection: Any
) -> None:
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with pytest.raises(UnsafeSessionError, match="read_only"):
        await check_database(store_config, 10)


# --- rights ---


async def sentences(config: PoolConfig, role: Role, *, is_required: bool) -> list[str]:
    session = await connect(msgspec.structs.replace(config, url=role.url))
    try:
        rights = await missing_rights(session)
        return [right.sentence for right in rights if right.is_required is is_required]
    finally:
        session.terminate()


async def test_the_role_that_has_migrated_lacks_no_right(store_config: PoolConfig) -> None:
    session = await connect(store_config)

    assert [] == await missing_rights(session)
    session.terminate()


async def test_a_role_that_only_writes_needs_one_right_for_partitions(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")

    assert [] == await sentences(store_config, role, is_required=True)
    (sentence,) = await sentences(store_config, role, is_required=False)
    grant = sentence.partition(": ")[2]
    assert grant == f"{EXECUTE} {role.name}"

    await connection.execute(grant)
    assert [] == await sentences(store_config, role, is_required=False)


async def test_every_sentence_ends_with_the_statement_that_grants_the_right(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("TRIGGER")

    found = await sentences(store_config, role, is_required=True)
    for sentence in found:
        await connection.execute(sentence.partition(": ")[2])

    assert 9 == len(found)
    assert [] == await sentences(store_config, role, is_required=True)


async def test_a_schema_without_usage_is_not_reported_as_an_empty_database(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")

    expected = f"the role {role.name} lacks USAGE on public: GRANT USAGE ON SCHEMA public TO"
    with pytest.raises(SchemaError, match=expected):
        await check_database(msgspec.structs.replace(store_config, url=role.url), CONNECTIONS)


@pytest.mark.parametrize("missing", ["INSERT ON event_deduplication", "SELECT ON api_keys"])
async def test_a_start_without_a_required_right_is_refused_and_names_it(
    store_config: PoolConfig, connection: Any, make_role: MakeRole, missing: str
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute(f"REVOKE {missing} FROM {role.name}")

    grant = missing.replace("ON ", "ON TABLE ")
    with pytest.raises(SchemaError, match=f"GRANT {grant} TO {role.name}$"):
        await check_database(msgspec.structs.replace(store_config, url=role.url), CONNECTIONS)


async def test_rights_on_columns_count(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute(
        f"REVOKE SELECT ON api_keys FROM {role.name};"
        f"GRANT SELECT (key_id, tenant_id) ON api_keys TO {role.name}"
    )

    assert [] == await sentences(store_config, role, is_required=True)


async def test_rights_that_the_owner_of_the_partition_function_lacks_are_named(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute(
        f"ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO {role.name}"
    )

    found = await sentences(store_config, role, is_required=False)

    assert 3 == len(found)
    assert f"GRANT CREATE ON SCHEMA public TO {role.name}" in found[-1] + found[0]
    owner = await connection.fetchval("SELECT quote_ident(current_user)")
    for table in ("events", "rejected_events"):
        expected = (
            f"{role.name}, the owner of ensure_event_partitions_v1, does not own {table}:"
            f" ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO {owner}"
        )
        assert expected in found
    await connection.execute(
        f"ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO {owner}"
    )


async def test_the_documented_grants_are_all_that_a_worker_needs(
    store_config: PoolConfig, connection: Any, make_role: MakeRole, sender: Sender
) -> None:
    """Including a second attempt of a flush with a rejected event."""
    await connection.execute(
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;"
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC"
    )
    role = await make_role("TRIGGER")
    for grant in _documented_grants():
        await connection.execute(grant.replace("forebay_writer", role.name))
    config = msgspec.structs.replace(store_config, url=role.url)

    await check_database(config, CONNECTIONS)

    pool = await open_pool(config)
    retrier = FlushRetrier(pool, SystemClock(), acquire_timeout_s=2.0, on_failure=lambda _: None)
    await require_partition(pool, SystemClock().now().date())
    await retrier.readiness.probe()
    assert retrier.readiness.trouble is None
    store = EventStore(retrier, SystemClock(), always(True))
    refused = sender.payload(make_event("a"), make_event("b", timestamp="never"))
    for _ in range(2):
        (written,) = await store.write([refused], time.monotonic() + 20)
        assert not isinstance(written, RefusedError)
    pool.terminate()


async def test_a_worker_with_the_documented_grants_cannot_change_keys_or_delete_events(
    connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("TRIGGER")
    for grant in _documented_grants():
        await connection.execute(grant.replace("forebay_writer", role.name))
    statements = [
        "INSERT INTO api_keys VALUES ('a', 1, 1, 'b', 'c')",
        "UPDATE tenants SET disabled_at = NULL",
        "CREATE TABLE mine (n int)",
        "CREATE ROLE mine",
        "COPY events TO '/tmp/events'",
    ]
    for table in ("events", "event_deduplication", "rejected_events", "api_keys"):
        statements += [f"DELETE FROM {table}", f"TRUNCATE {table}", f"DROP TABLE {table}"]
        statements += [f"UPDATE {table} SET tenant_id = 1"]
    writer = await asyncpg.connect(role.url)

    try:
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await writer.execute(statement)
    finally:
        writer.terminate()


def _documented_grants() -> list[str]:
    page = (ROOT / "docs/how-to/deploy.md").read_text()
    section = page.partition("## Use a role that only writes")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("GRANT ")]
