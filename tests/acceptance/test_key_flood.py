"""
Strangers who send made-up API keys.

If these tests fail: anybody can have the requests of honest senders refused or delayed, without
any key.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from provision.keys import NewKey
from service import apikey
from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.acceptance.site import Site, track

CONNECTIONS: Final = 300
BODY: Final = b'{"event":"Signed Up","user_id":"u1"}'
# The issue allows twice; the rest is for the flood's own use of the machine that runs the tests.
SLOWER_MAX: Final = 10

MakeRequest = Callable[[], bytes]


def request_of(key: str) -> bytes:
    return wire.post("/v1/track", f"X-API-Key: {key}", body=BODY)


def made_up() -> bytes:
    return request_of(apikey.mint().text)


@asynccontextmanager
async def flooded(site: Site, make_request: MakeRequest = made_up) -> AsyncIterator[Counter[int]]:
    """Send requests over 300 connections all the time; count the answers by status."""
    statuses: Counter[int] = Counter()

    async def send(line: wire.Wire) -> None:
        while True:
            await line.send(make_request())
            answer = await line.answer()
            assert answer is not None
            statuses[answer.status] += 1

    lines = [await wire.connect(site.service.url) for _ in range(CONNECTIONS)]
    senders = [asyncio.create_task(send(line)) for line in lines]
    try:
        yield statuses
    finally:
        for sender in senders:
            sender.cancel()
        ends = await asyncio.gather(*senders, return_exceptions=True)
        for line in lines:
            line.close()
        assert {asyncio.CancelledError} == {type(end) for end in ends}


def assert_refused(statuses: Counter[int]) -> None:
    """Fail if a stranger was served; 503 comes when the machine is slow."""
    assert set(statuses) <= {401, 503}
    assert statuses[401] > 0.9 * statuses.total()


async def durations_s(site: Site, key: NewKey, requests: int = 150) -> list[float]:
    """Send accepted requests one after the other; return the sorted durations."""
    durations = []
    async with site.client(key) as client:
        await client.post("/v1/track", json=track())
        for _ in range(requests):
            started = time.monotonic()
            answer = await client.post("/v1/track", json=track())
            assert answer.status_code == 200, answer.text
            durations.append(time.monotonic() - started)
    return sorted(durations)


def p90(durations: list[float]) -> float:
    return durations[int(len(durations) * 0.9)]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_made_up_keys_refuse_and_delay_no_honest_sender(
    start_site: StartSite, workers: str
) -> None:
    site = await start_site(workers=workers)
    key = await site.make_key()
    alone = p90(await durations_s(site, key))

    async with flooded(site) as statuses:
        beside = p90(await durations_s(site, key))
        # No worker knows these keys yet.
        for _ in range(20):
            await _stores_one(site, await site.make_key())
        before = time.monotonic(), statuses.total()
        await asyncio.sleep(1.5)
        per_second = (statuses.total() - before[1]) / (time.monotonic() - before[0])

    assert_refused(statuses)
    assert beside < SLOWER_MAX * alone, (beside, alone)
    # The flood has slowed itself down: each connection waits for a second.
    assert per_second < 3 * CONNECTIONS


async def _stores_one(site: Site, key: NewKey) -> None:
    answer = await wire.exchange(site.service.url, request_of(key.api_key))
    assert answer.status == 200, answer.body


async def test_a_burst_of_made_up_keys_refuses_no_new_key(start_site: StartSite) -> None:
    """All of them at the same time, while a look-up takes long."""
    site = await start_site(workers="1")
    keys = [await site.make_key() for _ in range(14)]
    texts = [apikey.mint().text for _ in range(600)]
    for place, key in enumerate(keys):
        texts.insert(40 * (place + 1), key.api_key)
    lines = [await wire.connect(site.service.url) for _ in texts]
    async with site.database() as connection:
        await connection.execute("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        for line, text in zip(lines, texts, strict=True):
            await line.send(request_of(text))
        # Shorter than the lock timeout of a look-up.
        await asyncio.sleep(0.4)
        await connection.execute("ROLLBACK")
    answers = await asyncio.gather(*(line.answer() for line in lines))
    for line in lines:
        line.close()

    statuses = Counter(None if answer is None else answer.status for answer in answers)
    assert {200: 14, 401: 600} == statuses


async def test_a_revocation_counts_within_a_second_in_a_flood(site: Site) -> None:
    key = await site.make_key()
    await _stores_one(site, key)

    async with flooded(site), site.database() as connection:
        await connection.execute(
            "UPDATE api_keys SET revoked_at = now() WHERE key_id = $1", key.key_id
        )
        await asyncio.sleep(1)
        for _ in range(5):
            answer = await wire.exchange(site.service.url, request_of(key.api_key))
            assert answer.status == 401


@pytest.mark.parametrize("kind", ["one made-up key", "wrong secret of a known key", "in the body"])
async def test_other_floods_without_a_key_are_slowed_down_too(site: Site, kind: str) -> None:
    key = await site.make_key()
    await _stores_one(site, key)
    text = apikey.mint().text
    requests: dict[str, MakeRequest] = {
        "one made-up key": lambda: request_of(text),
        "wrong secret of a known key": lambda: request_of(_with_other_secret(key.api_key)),
        "in the body": lambda: wire.post(
            "/v1/track",
            body=b'{"event":"e","user_id":"u","writeKey":"%b"}' % apikey.mint().text.encode(),
        ),
    }
    async with flooded(site, requests[kind]) as statuses:
        await _settled(lambda: _stores_one(site, key), 2.5)
        before = time.monotonic(), statuses.total()
        await _settled(lambda: _stores_one(site, key), 1.5)
        per_second = (statuses.total() - before[1]) / (time.monotonic() - before[0])

    assert_refused(statuses)
    assert per_second < 3 * CONNECTIONS


async def _settled(send: Callable[[], Awaitable[None]], duration_s: float) -> None:
    stop_at = time.monotonic() + duration_s
    while time.monotonic() < stop_at:
        await send()
        await asyncio.sleep(0.05)


def _with_other_secret(text: str) -> str:
    """Return a well-formed key with the id of *text* and another secret."""
    minted = apikey.mint().text
    start = len(apikey.PREFIX) + 1
    body = minted[:start] + text[start : start + 12] + minted[start + 12 : -6]
    return body + apikey._check(body)
