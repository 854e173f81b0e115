"""The peer is worth comparing with: it stores, drops repeats and answers as it says."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import httpx
import pytest

from provision import postgres
from provision.keys import NewKey
from provision.migrate import migrate
from provision.tenants import create_tenant

ROOT: Final = Path(__file__).parents[2]
START_TIMEOUT_S: Final = 30.0
TRACK: Final = {"type": "track", "event": "Order Completed", "userId": "u1"}


class Site(NamedTuple):
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
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="forebay-bench-"))
    folder.chmod(0o711)  # as root the server runs as another user, who has to get in
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        server = stack.enter_context(postgres.start(folder / "server", max_wal_senders=0))
        acme, zenith = asyncio.run(_provision(server.url()))
        port = postgres.free_port()
        peer = subprocess.Popen(
            [sys.executable, "-m", "bench.peers.naive", "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": server.url()},
        )
        stack.callback(peer.wait, 30)
        stack.callback(peer.terminate)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))
        _wait_until_ready(client, peer)
        yield Site(client, server.url(), acme, zenith)


async def _provision(database_url: str) -> tuple[NewKey, NewKey]:
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        return await create_tenant(connection, "acme"), await create_tenant(connection, "zenith")
    finally:
        connection.terminate()


def _wait_until_ready(client: httpx.Client, peer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while peer.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").json() == {"ready": True}:
                return
        time.sleep(0.05)
    raise AssertionError("the peer does not answer")


def test_an_event_is_stored_before_it_is_acknowledged(site: Site) -> None:
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


def test_an_event_sent_twice_is_stored_once_and_called_a_duplicate(site: Site) -> None:
    statuses = [
        site.post("/v1/identify", {"user_id": "u1", "event_id": "twice"}).json()["status"]
        for _ in range(2)
    ]

    assert ["accepted", "duplicate"] == statuses
    assert 1 == len(site.stored("id", "twice"))


def test_a_batch_tells_new_events_from_duplicates_in_order(site: Site) -> None:
    site.post("/v1/track", TRACK | {"event_id": "old"})
    ids = ["new", "old", "twin", "twin"]

    answer = site.post("/v1/batch", {"batch": [TRACK | {"event_id": name} for name in ids]}).json()

    assert (2, 2) == (answer["accepted"], answer["duplicates"])
    assert list(zip(ids, ["accepted", "duplicate", "accepted", "duplicate"], strict=True)) == [
        (result["event_id"], result["status"]) for result in answer["results"]
    ]
    assert [1, 1, 1] == [len(site.stored("id", name)) for name in ("new", "old", "twin")]


def test_two_tenants_may_use_the_same_id(site: Site) -> None:
    for key in (site.acme, site.zenith):
        site.post("/v1/track", TRACK | {"event_id": "shared"}, key.api_key)

    owners = [(key.tenant_id, key.workspace_id) for key in (site.acme, site.zenith)]
    assert owners == site.stored("tenant_id, workspace_id", "shared")


@pytest.mark.parametrize("key", ["", "fb1_none", "nonsense"])
def test_an_unknown_key_is_refused(site: Site, key: str) -> None:
    assert 401 == site.post("/v1/track", TRACK, key).status_code


def test_the_key_may_come_as_basic_auth_or_bearer(site: Site) -> None:
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
def test_what_is_not_valid_is_refused(site: Site, path: str, body: dict[str, Any]) -> None:
    assert 422 == site.post(path, body).status_code
