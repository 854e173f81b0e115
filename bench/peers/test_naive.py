"""
The naive peer stores events, drops duplicates and answers as its README says.

If these tests fail: the published comparison with the naive peer is wrong.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import asyncpg
import httpx
import pytest

from bench.database import own_database
from bench.processes import naive_peer
from provision.keys import NewKey

TRACK: Final = {"type": "track", "event": "Order Completed", "userId": "u1"}


class PeerSite(NamedTuple):
    """A running peer, its database, and the keys of two tenants."""

    client: httpx.Client
    database_url: str
    acme: NewKey
    zenith: NewKey

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = {"X-API-Key": self.acme.api_key if key is None else key}
        return self.client.post(path, json=body, headers=headers)

    def stored(self, columns: str, event_id: str) -> list[tuple[Any, ...]]:
        async def fetch() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.database_url)
            query = f"SELECT {columns} FROM naive.events WHERE event_id = $1 ORDER BY tenant_id"
            try:
                return [tuple(row) for row in await connection.fetch(query, event_id)]
            finally:
                connection.terminate()

        return asyncio.run(fetch())


@pytest.fixture(scope="module")
def site() -> Iterator[PeerSite]:
    with own_database() as database, naive_peer(database.url, workers=1) as server:
        acme, zenith, *_ = database.keys
        with httpx.Client(base_url=f"http://{server.address}") as client:
            yield PeerSite(client, database.url, acme, zenith)


def test_an_event_is_stored_before_it_is_acknowledged(site: PeerSite) -> None:
    answer = site.post(
        "/v1/track",
        TRACK | {"messageId": "one", "properties": {"total": 1.5}, "new": 1},
    )

    assert (200, "one", "accepted") == (
        answer.status_code,
        answer.json()["event_id"],
        answer.json()["status"],
    )
    columns = "tenant_id, type, event, user_id, properties::text, extra::text"
    assert [
        (site.acme.tenant_id, "track", "Order Completed", "u1", '{"total": 1.5}', '{"new": 1}')
    ] == site.stored(columns, "one")


def test_an_event_sent_twice_is_stored_once_and_called_a_duplicate(site: PeerSite) -> None:
    statuses = [
        site.post("/v1/identify", {"user_id": "u1", "event_id": "twice"}).json()["status"]
        for _ in range(2)
    ]

    assert ["accepted", "duplicate"] == statuses
    assert 1 == len(site.stored("id", "twice"))


def test_a_batch_tells_new_events_from_duplicates_in_order(site: PeerSite) -> None:
    site.post("/v1/track", TRACK | {"event_id": "old"})
    ids = ["new", "old", "same", "same"]

    answer = site.post("/v1/batch", {"batch": [TRACK | {"event_id": name} for name in ids]}).json()

    assert (2, 2) == (answer["accepted"], answer["duplicates"])
    assert list(zip(ids, ["accepted", "duplicate", "accepted", "duplicate"], strict=True)) == [
        (result["event_id"], result["status"]) for result in answer["results"]
    ]
    assert [1, 1, 1] == [len(site.stored("id", name)) for name in ("new", "old", "same")]


def test_two_tenants_may_use_the_same_id(site: PeerSite) -> None:
    for key in (site.acme, site.zenith):
        site.post("/v1/track", TRACK | {"event_id": "shared"}, key.api_key)

    owners = [(key.tenant_id, key.workspace_id) for key in (site.acme, site.zenith)]
    assert owners == site.stored("tenant_id, workspace_id", "shared")


@pytest.mark.parametrize("key", ["", "fb1_none", "nonsense"])
def test_an_unknown_key_is_refused(site: PeerSite, key: str) -> None:
    assert 401 == site.post("/v1/track", TRACK, key).status_code


def test_the_key_may_come_as_basic_auth_or_bearer(site: PeerSite) -> None:
    key = site.acme.api_key
    bearer = {"Authorization": f"Bearer {key}"}

    answers = [
        site.client.post("/v1/track", json=TRACK, headers=bearer),
        site.client.post("/v1/track", json=TRACK, auth=(key, "")),
    ]

    assert [200, 200] == [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/track", {"userId": "u1"}),
        ("/v1/identify", {"traits": {}}),
        ("/v1/batch", {"batch": []}),
        ("/v1/batch", {"batch": [TRACK] * 51}),
        ("/v1/batch", {"batch": [TRACK, {"type": "nothing"}]}),
    ],
)
def test_an_invalid_body_is_refused(site: PeerSite, path: str, body: dict[str, Any]) -> None:
    assert 422 == site.post(path, body).status_code
