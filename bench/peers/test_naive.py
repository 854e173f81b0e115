"""
The naive peer stores events, drops duplicates and answers as its README says.

If these tests fail: the published comparison with the naive peer is wrong.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import httpx
import pytest

from bench.database import BenchDatabase, own_database
from bench.processes import running

TRACK: Final = {"type": "track", "event": "Order Completed", "userId": "u1"}


class PeerSite(NamedTuple):
    """A running peer and its database."""

    client: httpx.Client
    database: BenchDatabase

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        """Send with the key of the first tenant, unless *more* says otherwise."""
        headers = {"X-API-Key": self.database.keys[0].api_key}
        return self.client.post(path, json=body, **{"headers": headers} | more)

    def stored(self, columns: str, event_id: str) -> Any:
        """Return a list of the rows as text."""
        query = f"SELECT array_agg(({columns})::text) FROM naive.events WHERE event_id = $1"
        return self.database.value(query, event_id)


@pytest.fixture(scope="module")
def site() -> Iterator[PeerSite]:
    with (
        own_database() as database,
        running("naive", 1, database.url) as server,
        httpx.Client(base_url=f"http://{server.address}") as client,
    ):
        yield PeerSite(client, database)


def test_an_event_is_stored_before_it_is_acknowledged(site: PeerSite) -> None:
    event = TRACK | {"messageId": "one", "properties": {"total": 1.5}, "new": 1}

    answer = site.post("/v1/track", event).json()

    assert ("one", "accepted") == (answer["event_id"], answer["status"])
    columns = "tenant_id, type, event, user_id, properties->>'total', extra->>'new'"
    assert ['(1,track,"Order Completed",u1,1.5,1)'] == site.stored(columns, "one")


def test_a_batch_has_one_result_per_new_or_duplicate_event_in_order(site: PeerSite) -> None:
    site.post("/v1/track", TRACK | {"event_id": "old"})
    ids = ["new", "old", "same", "same"]

    answer = site.post("/v1/batch", {"batch": [TRACK | {"event_id": name} for name in ids]}).json()

    assert (2, 2) == (answer["accepted"], answer["duplicates"])
    assert list(zip(ids, ["accepted", "duplicate", "accepted", "duplicate"], strict=True)) == [
        (result["event_id"], result["status"]) for result in answer["results"]
    ]
    assert [1, 1, 1] == [len(site.stored("id, id", name)) for name in ("new", "old", "same")]


def test_two_tenants_may_use_the_same_id(site: PeerSite) -> None:
    for key in site.database.keys[:2]:
        site.post("/v1/track", TRACK | {"event_id": "shared"}, headers={"X-API-Key": key.api_key})

    owners = [f"({key.tenant_id},{key.workspace_id})" for key in site.database.keys[:2]]
    assert owners == sorted(site.stored("tenant_id, workspace_id", "shared"))


@pytest.mark.parametrize("key", ["", "fb1_none", "nonsense"])
def test_an_unknown_key_is_refused(site: PeerSite, key: str) -> None:
    assert 401 == site.post("/v1/track", TRACK, headers={"X-API-Key": key}).status_code


def test_a_key_is_accepted_as_basic_and_as_bearer_authorization(site: PeerSite) -> None:
    key = site.database.keys[0].api_key

    answers = [
        site.post("/v1/track", TRACK, headers={"Authorization": f"Bearer {key}"}),
        site.post("/v1/track", TRACK, headers={}, auth=(key, "")),
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
