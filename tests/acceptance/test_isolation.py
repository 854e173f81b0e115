"""
No answer, log line, metric or row of a tenant depends on the events of another tenant.

If these tests fail: a tenant learns something about the events of another tenant, or changes them.
"""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import httpx
import pytest

from provision.keys import NewKey, Profile, WorkspaceRow, create_key, revoke_key
from provision.tenants import create_tenant, create_workspace
from tests.acceptance.running import until
from tests.acceptance.site import Site, track

TENANTS: Final = 3
WORKSPACES: Final = 2
KEYS: Final = 2
# Ids that every tenant uses; no tenant may learn that another one uses them.
SAME_IDS: Final = [f"same-{number}" for number in range(10)]
_TABLES: Final = ("events", "rejected_events", "event_deduplication")


class Workspace(NamedTuple):
    """A workspace with a word that is in all of its events and nowhere else."""

    name: str
    word: str
    keys: list[NewKey]

    def event(self, event_id: str, **members: Any) -> dict[str, Any]:
        said = {"user_id": self.word, "event": f"Bought {self.word}", "name": self.word}
        return track(event_id, **said, properties={"secret": [self.word]}, **members)

    def same(self) -> list[dict[str, Any]]:
        return [self.event(event_id) for event_id in SAME_IDS]


class Tenant(NamedTuple):
    """A tenant with its workspaces."""

    name: str
    tenant_id: int
    workspaces: list[Workspace]

    @property
    def keys(self) -> list[NewKey]:
        return [key for workspace in self.workspaces for key in workspace.keys]

    @property
    def words(self) -> list[str]:
        """The words that only this tenant may see."""
        own = [self.name, *(key.key_id for key in self.keys), *(key.api_key for key in self.keys)]
        for workspace in self.workspaces:
            own += [workspace.name, workspace.word]
        return own


@pytest.fixture
async def tenants(shared: Site) -> list[Tenant]:
    """Create three tenants with two workspaces each, and two keys for each workspace."""
    return [await _make_tenant(shared) for _ in range(TENANTS)]


async def _make_tenant(site: Site) -> Tenant:
    name, first, second = (f"tenant-{_word()}", f"space-{_word()}", f"space-{_word()}")
    async with site.database() as connection:
        key = await create_tenant(connection, name, workspace=first)
        places = [
            WorkspaceRow(name, first, key.tenant_id, key.workspace_id),
            await create_workspace(connection, name, second),
        ]
        keys = {first: [key], second: list[NewKey]()}
        for place in places:
            while len(keys[place.workspace]) < KEYS:
                number = str(len(keys[place.workspace]))
                made = await create_key(connection, place, number, Profile.DEFAULT)
                keys[place.workspace].append(made)
    workspaces = [Workspace(place.workspace, _word(), keys[place.workspace]) for place in places]
    return Tenant(name, key.tenant_id, workspaces)


def _word() -> str:
    return secrets.token_hex(8)


def strangers_words(tenants: list[Tenant], own: Tenant) -> Iterator[str]:
    """Return the words of the other tenants, which *own* must never see."""
    for tenant in tenants:
        if tenant is not own:
            yield from tenant.words


async def _send(
    site: Site, tenants: list[Tenant], workspace: int, key: int
) -> list[httpx.Response]:
    """Send the same ids for every tenant concurrently, so that they share flushes."""

    async def send(tenant: Tenant) -> httpx.Response:
        sender = tenant.workspaces[workspace]
        async with site.client(sender.keys[key]) as client:
            return await client.post("/v1/batch", json={"batch": sender.same()})

    return list(await asyncio.gather(*(send(tenant) for tenant in tenants)))


def _verdicts(answer: httpx.Response) -> set[tuple[str, str | None]]:
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert SAME_IDS == [result["event_id"] for result in results]
    return {(result["status"], result.get("code")) for result in results}


async def test_duplicates_are_found_among_the_events_of_the_same_tenant_only(
    shared: Site, tenants: list[Tenant]
) -> None:
    expected: dict[tuple[int, int], tuple[str, str | None]] = {
        (0, 0): ("accepted", None),
        (0, 1): ("duplicate", None),
        (1, 0): ("conflict", "id_used_in_other_workspace"),
        (1, 1): ("conflict", "id_used_in_other_workspace"),
    }
    for (workspace, key), verdict in expected.items():
        answers = await _send(shared, tenants, workspace, key)
        assert [{verdict}] * TENANTS == [_verdicts(answer) for answer in answers]
        for tenant, answer in zip(tenants, answers, strict=True):
            _check_answer(answer, [*strangers_words(tenants, tenant), *tenant.words])

    for tenant in tenants:
        first, second = tenant.workspaces
        rows = await shared.rows(tenant.keys[0])
        assert SAME_IDS == [row["event_id"] for row in rows]
        assert {(first.keys[0].workspace_id, first.word)} == {
            (row["workspace_id"], row["user_id"]) for row in rows
        }
        quarantined = await shared.rejected(tenant.keys[0])
        assert sorted(SAME_IDS * KEYS) == sorted(row["event_id"] for row in quarantined)
        assert {second.keys[0].workspace_id} == {row["workspace_id"] for row in quarantined}


def _check_answer(answer: httpx.Response, words: list[str]) -> None:
    said = f"{answer.headers}{answer.text}"
    assert [word for word in words if word in said] == []


async def test_no_row_of_a_tenant_has_data_of_another_tenant(
    shared: Site, tenants: list[Tenant]
) -> None:
    await _send_everything(shared, tenants)
    for tenant in tenants:
        own, strange = tenant.workspaces[0].word, list(strangers_words(tenants, tenant))
        for table in _TABLES:
            query = f"SELECT t.*, t::text AS whole FROM {table} AS t WHERE tenant_id = $1"
            async with shared.database() as connection:
                rows = await connection.fetch(query, tenant.tenant_id)
            written = "".join(
                row["whole"] + bytes(row.get("payload") or b"").decode() for row in rows
            )
            assert rows
            assert [word for word in strange if word in written] == []
            assert (own in written) == (table != "event_deduplication")


async def test_the_log_has_the_tenant_of_a_request_and_nothing_of_its_content(
    shared: Site, tenants: list[Tenant]
) -> None:
    before = len(shared.service.log)
    await _send_everything(shared, tenants)
    written = shared.service.log[before:] + shared.service.complaints
    public = {key.key_id for tenant in tenants for key in tenant.keys}
    words = [word for tenant in tenants for word in tenant.words if word not in public]
    assert [word for word in [*words, *SAME_IDS] if word in written] == []

    by_key = {key.key_id: key for tenant in tenants for key in tenant.keys}
    lines = [line for line in shared.service.log_lines("request") if line.get("key_id") in by_key]
    assert set(by_key) == {line["key_id"] for line in lines}
    for line in lines:
        key = by_key[line["key_id"]]
        assert (key.tenant_id, key.workspace_id) == (line["tenant_id"], line["workspace_id"])
        strange = [word for word in by_key if word != key.key_id and word in str(line)]
        assert strange == []


async def test_metrics_and_health_name_no_tenant(shared: Site, tenants: list[Tenant]) -> None:
    await _send_everything(shared, tenants)
    async with shared.client() as client:
        answers = [
            await client.get(shared.service.metrics_url),
            await client.get("/health"),
            await client.get("/health/ready"),
            await client.get("/"),
        ]
    assert [200] * len(answers) == [answer.status_code for answer in answers]
    words = {*SAME_IDS, *(word for tenant in tenants for word in tenant.words)}
    measured, *others = answers
    for answer in others:
        _check_answer(answer, list(words))
    # The public ids of keys are a label.
    key_ids = {key.key_id for tenant in tenants for key in tenant.keys}
    _check_answer(measured, list(words - key_ids))
    measures = measured.text
    assert "forebay_" in measures
    for owner in ("tenant", "workspace", "event", "user"):
        assert f"{owner}=" not in measures
        assert f"{owner}_id=" not in measures


async def _send_everything(site: Site, tenants: list[Tenant]) -> None:
    """Send events of every outcome and refused requests, for all tenants concurrently."""
    for workspace in range(WORKSPACES):
        for key in range(KEYS):
            await _send(site, tenants, workspace, key)

    async def send_bad(tenant: Tenant) -> None:
        sender = tenant.workspaces[0]
        bad = sender.event(sender.word, timestamp=f"never {sender.word}")
        async with site.client(sender.keys[0]) as client:
            rejected = await client.post("/v1/track", json=bad)
            refused = await client.post(f"/v1/{sender.word}", content=f'{{"a":{sender.word}')
            malformed = await client.post("/v1/batch", content=f'{{"a":"{sender.word}"')
        assert [rejected.status_code, refused.status_code, malformed.status_code] == [400, 404, 400]
        for answer in (rejected, refused, malformed):
            _check_answer(answer, list(strangers_words(tenants, tenant)))

    await asyncio.gather(*(send_bad(tenant) for tenant in tenants))


async def test_a_tenant_or_workspace_named_in_a_body_is_stored_as_data_only(
    shared: Site, tenants: list[Tenant]
) -> None:
    for tenant, other in zip(tenants, tenants[1:] + tenants[:1], strict=True):
        for workspace in tenant.workspaces:
            target = other.workspaces[0].keys[0]
            said = {
                "tenant_id": target.tenant_id,
                "workspace_id": target.workspace_id,
                "tenantId": str(target.tenant_id),
                "workspaceId": str(target.workspace_id),
                "key_id": target.key_id,
                "received_at": "2001-01-01T00:00:00Z",
                "id": 1,
                "payload_hash": 2,
            }
            event = workspace.event(workspace.word, **said)
            async with shared.client(workspace.keys[0]) as client:
                answer = await client.post("/v1/batch", json={"batch": [event]} | said)
            assert answer.json()["accepted"] == 1, answer.text
            rows = await shared.rows(workspace.keys[0])
            (row,) = [row for row in rows if row["event_id"] == workspace.word]

            assert said == row["extra"]
            place = (workspace.keys[0].tenant_id, workspace.keys[0].workspace_id)
            assert place == (row["tenant_id"], row["workspace_id"])
            assert row["id"] != 1
            assert row["received_at"].year > 2001

    # Each tenant has its own two events and no other.
    for tenant in tenants:
        expected = [workspace.word for workspace in tenant.workspaces]
        assert expected == await shared.event_ids(tenant.keys[0])


async def test_the_secret_of_one_key_does_not_authenticate_another(
    shared: Site, tenants: list[Tenant]
) -> None:
    keys = [key for tenant in tenants for key in tenant.keys]
    async with shared.client() as client:
        for key, other in zip(keys, keys[1:] + keys[:1], strict=True):
            prefix, _, _ = key.api_key.rpartition("_")
            mixed = f"{prefix}_{other.api_key.rpartition('_')[2]}"
            answer = await client.post("/v1/track", json=track(), headers={"x-api-key": mixed})
            assert answer.status_code == 401
    assert [await shared.rows(tenant.keys[0]) for tenant in tenants] == [[]] * TENANTS


async def test_a_request_with_the_keys_of_two_tenants_belongs_to_the_first_key(
    shared: Site, tenants: list[Tenant]
) -> None:
    first, second = (tenant.keys[0] for tenant in tenants[:2])
    both = [
        {"authorization": f"Bearer {first.api_key}", "x-api-key": second.api_key},
        {"x-api-key": first.api_key, "x-write-key": second.api_key},
        {
            "authorization": f"Negotiate {second.api_key}",
            "x-api-key": first.api_key,
            "x-write-key": second.api_key,
        },
    ]
    async with shared.client_of_each_worker() as clients:
        for client in clients.values():
            for headers in [{"x-api-key": second.api_key}, {"x-write-key": second.api_key}, *both]:
                sent = track() | {"writeKey": second.api_key}
                answer = await client.post("/v1/track", json=sent, headers=headers)
                assert answer.status_code == 200

    assert len(await shared.rows(first)) == len(both) * shared.service.workers
    assert len(await shared.rows(second)) == 2 * shared.service.workers


async def test_revoking_a_key_affects_no_other_key(shared: Site, tenants: list[Tenant]) -> None:
    (revoked, *others), *strangers = [tenant.keys for tenant in tenants]
    left = [*others, *(key for keys in strangers for key in keys)]
    await _see(shared, [revoked], 200)
    async with shared.database() as connection:
        assert await revoke_key(connection, revoked.key_id)
    await _see(shared, [revoked], 401)
    for key in left:
        assert {200} == await _statuses(shared, key)


async def test_disabling_a_tenant_affects_no_other_tenant(
    shared: Site, tenants: list[Tenant]
) -> None:
    disabled, *others = tenants
    await _see(shared, disabled.keys, 200)
    async with shared.database() as connection:
        query = "UPDATE tenants SET disabled_at = now() WHERE id = $1"
        await connection.execute(query, disabled.tenant_id)
    await _see(shared, disabled.keys, 401)
    for tenant in others:
        for key in tenant.keys:
            assert {200} == await _statuses(shared, key)


async def _see(site: Site, keys: list[NewKey], status: int) -> None:
    async def have_turned() -> bool:
        return all([await _statuses(site, key) == {status} for key in keys])

    await until(have_turned, 10, f"every worker answers {status}")


async def _statuses(site: Site, key: NewKey) -> set[int]:
    """Return the status of every worker's answer to the key."""
    async with site.client_of_each_worker(key) as clients:
        return {(await c.post("/v1/track", json=track())).status_code for c in clients.values()}
