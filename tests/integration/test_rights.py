"""A role that cannot do its work is told so: which right, on what, and how to grant it."""

import time
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from service.clock import SystemClock
from service.reasons import Refusal
from service.store.events import EventStore
from service.store.health import SchemaError, check_database
from service.store.partitions import require_partition
from service.store.pool import PoolConfig, connect, open_pool
from service.store.rights import missing_rights
from service.store.settle import Settler
from tests.conftest import MakeRole, Role
from tests.doubles import Sender, always, make_event

ROOT: Final = Path(__file__).parents[2]
CONNECTIONS: Final = 10
EXECUTE: Final = "GRANT EXECUTE ON FUNCTION ensure_event_partitions_v1(date,date) TO"


async def sentences(config: PoolConfig, role: Role, *, is_required: bool) -> list[str]:
    session = await connect(msgspec.structs.replace(config, url=role.url))
    try:
        rights = await missing_rights(session)
        return [right.sentence for right in rights if right.is_required is is_required]
    finally:
        session.terminate()


async def test_the_role_that_has_migrated_lacks_nothing(store_config: PoolConfig) -> None:
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


async def test_every_sentence_ends_with_the_statement_that_cures_it(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("TRIGGER")

    told = await sentences(store_config, role, is_required=True)
    for sentence in told:
        await connection.execute(sentence.partition(": ")[2])

    assert 9 == len(told)
    assert [] == await sentences(store_config, role, is_required=True)


async def test_a_schema_that_may_not_be_used_is_not_taken_for_a_bare_database(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")

    expected = f"the role {role.name} lacks USAGE on public: GRANT USAGE ON SCHEMA public TO"
    with pytest.raises(SchemaError, match=expected):
        await check_database(msgspec.structs.replace(store_config, url=role.url), CONNECTIONS)


@pytest.mark.parametrize(
    "missing", ["INSERT ON events", "INSERT ON event_deduplication", "SELECT ON api_keys"]
)
async def test_a_start_without_a_right_that_events_need_is_refused_and_says_which(
    store_config: PoolConfig, connection: Any, make_role: MakeRole, missing: str
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute(f"REVOKE {missing} FROM {role.name}")

    grant = missing.replace("ON ", "ON TABLE ")
    with pytest.raises(SchemaError, match=f"GRANT {grant} TO {role.name}$"):
        await check_database(msgspec.structs.replace(store_config, url=role.url), CONNECTIONS)


async def test_rights_of_columns_count(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute(
        f"REVOKE SELECT ON api_keys FROM {role.name};"
        f"GRANT SELECT (key_id, tenant_id) ON api_keys TO {role.name}"
    )

    assert [] == await sentences(store_config, role, is_required=True)


async def test_an_owner_of_the_function_that_cannot_do_its_work_is_told(
    store_config: PoolConfig, connection: Any, make_role: MakeRole
) -> None:
    role = await make_role("SELECT, INSERT")
    await connection.execute(
        f"ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO {role.name}"
    )

    told = await sentences(store_config, role, is_required=False)

    assert 3 == len(told)
    assert f"GRANT CREATE ON SCHEMA public TO {role.name}" in told[-1] + told[0]
    owner = await connection.fetchval("SELECT quote_ident(current_user)")
    for table in ("events", "rejected_events"):
        expected = (
            f"{role.name}, the owner of ensure_event_partitions_v1, does not own {table}:"
            f" ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO {owner}"
        )
        assert expected in told
    await connection.execute(
        f"ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO {owner}"
    )


async def test_the_grants_of_the_documentation_are_all_that_a_worker_needs(
    store_config: PoolConfig, connection: Any, make_role: MakeRole, sender: Sender
) -> None:
    """A probe passes, and a flush with a refused event can run again after a lost commit."""
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
    settler = Settler(
        pool, SystemClock(), acquire_timeout_s=2.0, keep=always(True), on_fault=lambda _: None
    )
    await require_partition(pool, SystemClock().now().date())
    await settler.readiness.probe()
    assert settler.readiness.trouble is None
    store = EventStore(settler, SystemClock(), always(True))
    refused = sender.payload(make_event("a"), make_event("b", timestamp="never"))
    for _ in range(2):
        (written,) = await store.write([refused], time.monotonic() + 20)
        assert not isinstance(written, Refusal)
    pool.terminate()


def _documented_grants() -> list[str]:
    page = (ROOT / "docs/how-to/deploy.md").read_text()
    section = page.partition("## A role that only writes")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("GRANT ")]
