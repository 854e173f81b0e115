"""
The checker of the fault runs: it finds every broken promise, and nothing else.

If these tests fail: the other fault runs prove nothing, and a loss of events goes unnoticed.
"""

from pathlib import Path

import httpx

from provision.keys import NewKey
from provision.postgres import free_port
from tests.acceptance.checker import Account, Stored, findings, read_account, read_stored
from tests.acceptance.ledger import Ledger, event_of, new_ledger
from tests.acceptance.running import HOST
from tests.acceptance.site import Site, new_ids

COPY_OF_ONE = (
    "INSERT INTO events SELECT (jsonb_populate_record(e, '{\"id\": 1}')).* FROM events AS e"
    " WHERE event_id = $1"
)
# What is done to one stored event, and the kinds of findings that it makes.
TAMPERINGS = {
    "DELETE FROM events WHERE event_id = $1": {"lost", "in one table only"},
    "DELETE FROM event_deduplication WHERE event_key = event_key($1)": {"in one table only"},
    COPY_OF_ONE: {"doubled", "in one table only"},
    "UPDATE events SET properties = '{}' WHERE event_id = $1": {"changed", "not what was told"},
    "UPDATE events SET user_id = 'u2' WHERE event_id = $1": {"changed", "not what was told"},
    "UPDATE events SET event_id = $1 || 'x' WHERE event_id = $1": {"lost", "never sent"},
    "UPDATE events SET event_id = $1 || '-bad' WHERE event_id = $1": {
        *("lost", "stored though rejected", "changed"),
    },
    "UPDATE events SET event = 'Another' WHERE event_id = $1": {"not what was told"},
}


def kinds(found: list[str]) -> set[str]:
    return {line.partition(":")[0] for line in found}


async def test_a_row_deleted_doubled_or_changed_makes_the_checker_fail(site: Site) -> None:
    key, ledger = await site.make_key(), new_ledger(site)
    first, *others = new_ids(50)
    bad = event_of(f"{first}-bad")
    async with site.client(key) as client:
        await ledger.send_events(client, [event_of(first), bad, *map(event_of, others[:20])])
        await ledger.send(client, [first, *others])
        await ledger.send_events(client, [{**event_of(first), "event": "Another"}])
    await ledger.check(site, key)

    account = read_account(ledger.path)
    assert {"accepted", "duplicate", "conflict", "rejected"} == {told[2] for told in account.told}
    seen = {}
    async with site.database() as connection:
        for tampering in TAMPERINGS:
            transaction = connection.transaction()
            await transaction.start()
            assert await connection.execute(tampering, first) in {"UPDATE 1", "DELETE 1"} | {
                "INSERT 0 1"
            }
            stored = await read_stored(connection, key.tenant_id)
            seen[tampering] = kinds(findings(account, stored))
            await transaction.rollback()
        assert [] == findings(account, await read_stored(connection, key.tenant_id))

    assert TAMPERINGS == seen
    await _check_that_unknown_may_be_either(site, key)


async def _check_that_unknown_may_be_either(site: Site, key: NewKey) -> None:
    ledger = new_ledger(site)
    stored_id, absent_id = new_ids(2)
    async with site.client(key) as client:
        ledger.write_sent([event_of(stored_id), event_of(absent_id)])
        await client.post("/v1/batch", json={"batch": [event_of(stored_id)]})
        async with site.database() as connection:
            stored = await read_stored(connection, key.tenant_id)
        own = Stored([row for row in stored.events if row[0] in ledger.sent], [])
        assert {"in one table only"} == kinds(findings(read_account(ledger.path), own))
        await ledger.send_unanswered(client)

    assert {stored_id: "duplicate", absent_id: "accepted"} == ledger.verdicts


def test_an_event_that_is_accepted_twice_is_found_though_it_is_stored_once() -> None:
    account = Account({"a": {"h"}}, [("a", "h", "accepted"), ("a", "h", "accepted")])

    assert {"accepted twice"} == kinds(findings(account, _stored("a", "h")))


def test_a_conflict_answered_for_the_same_content_is_found() -> None:
    account = Account({"a": {"h"}}, [("a", "h", "accepted"), ("a", "h", "conflict")])

    assert {"not what was told"} == kinds(findings(account, _stored("a", "h")))


async def test_the_file_has_the_sent_events_although_nothing_was_answered(tmp_path: Path) -> None:
    ledger, ids = Ledger(tmp_path / "ledger"), new_ids(3)
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{free_port()}") as client:
        await ledger.send(client, ids)
    with ledger.path.open("ab") as file:
        file.write(b'{"told": [["cut o')

    account = read_account(ledger.path)
    assert {"ConnectError": 1} == ledger.faults
    assert (set(ids), []) == (set(account.sent), account.told)


def _stored(event_id: str, content: str) -> Stored:
    return Stored([(event_id, 1, content)], [1])
