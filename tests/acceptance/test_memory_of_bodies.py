"""
The memory of a worker while strangers send bodies: it is bounded, and given back.

If these tests fail: anybody who reaches the service, even without a key, can fill the memory of the
machine, and the requests of all tenants fail.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import httpx
import pytest

from provision.keys import NewKey
from service import apikey
from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.acceptance.running import until
from tests.acceptance.site import Site, track
from tests.acceptance.wire import Answer, Wire

MIB: Final = 1024 * 1024
CONNECTIONS: Final = 400
# A connection has a read buffer of 64 KiB, and a chunk of as much on its way to the application.
CONNECTION_BYTES: Final = 128 * 1024
BODIES_BYTES_MAX: Final = 16 * MIB
WITHOUT_KEY_BYTES_MAX: Final = BODIES_BYTES_MAX // 8
# Less than the bodies of the attacks would take: 200 MB.
GROWTH_BYTES_MAX: Final = CONNECTIONS * CONNECTION_BYTES + WITHOUT_KEY_BYTES_MAX + 20 * MIB
GROWTH_BYTES_LASTING: Final = 20 * MIB
BODY_BYTES: Final = 500_000
SETTLE_S: Final = 60.0
# The test shares its process with the sender whose answers it times: this is made once.
EVENTS: Final = json.dumps({"batch": [track(properties={"x": "y" * 2_000})] * 220}).encode()[:-1]
EVENTS_IN_CHUNKS: Final = wire.chunked(EVENTS).removesuffix(b"0\r\n\r\n")


def unfinished_gzip() -> bytes:
    """Return a request of 700 bytes, of which the body would be 500 KB."""
    encoder = zlib.compressobj(wbits=31)
    body = encoder.compress(bytes(BODY_BYTES)) + encoder.flush(zlib.Z_SYNC_FLUSH)
    coding = ("Content-Encoding: gzip", "Transfer-Encoding: chunked")
    head = wire.post("/v1/batch", *coding, sized=False)
    return head + b"%x\r\n%b\r\n" % (len(body), body)


def unfinished_plain() -> bytes:
    head = wire.post("/v1/batch", f"Content-Length: {BODY_BYTES + 1}", sized=False)
    return head + b" " * BODY_BYTES


def made_up_key() -> bytes:
    """Return a whole chunked request whose key is in the body, and is unknown."""
    key = b',"writeKey":"%b"}' % apikey.mint().text.encode()
    head = wire.post("/v1/batch", "Transfer-Encoding: chunked", sized=False)
    return head + EVENTS_IN_CHUNKS + wire.chunked(key)


class Sender:
    """Sends single events with a key in the header, one after the other."""

    def __init__(self, site: Site, key: NewKey) -> None:
        self._site = site
        self._key = key
        self.statuses: list[int] = []
        self._seconds: list[float] = []

    def take_median_s(self) -> float:
        seconds, self._seconds = self._seconds, []
        return statistics.median(seconds)

    async def run(self) -> None:
        async with self._site.client(self._key) as client:
            while True:
                await self._send(client)
                await asyncio.sleep(0.01)

    async def _send(self, client: httpx.AsyncClient) -> None:
        started = time.monotonic()
        answer = await client.post("/v1/track", json=track())
        self.statuses.append(answer.status_code)
        self._seconds.append(time.monotonic() - started)


@contextlib.asynccontextmanager
async def sending(site: Site, key: NewKey) -> AsyncIterator[Sender]:
    sender = Sender(site, key)
    task = asyncio.ensure_future(sender.run())
    try:
        yield sender
    finally:
        task.cancel()


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition(f"{field}:")[2].split()[0]) * 1024


async def attack(site: Site, request: Callable[[], bytes]) -> list[Wire]:
    """Send the request on many connections; the connections stay open."""
    connections = []
    for _ in range(CONNECTIONS // 50):
        some = await asyncio.gather(*(wire.connect(site.service.url) for _ in range(50)))
        for one in some:
            with contextlib.suppress(ConnectionError):  # refused, and closed
                await one.send(request())
        connections += some
    return connections


async def answers_of(connections: list[Wire]) -> list[Answer]:
    """Return the answers that have come by now."""

    async def answer(one: Wire) -> Answer | None:
        try:
            async with asyncio.timeout(2):
                return await one.answer()
        except TimeoutError:
            return None

    return [each for each in await asyncio.gather(*map(answer, connections)) if each]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("request_of", [unfinished_gzip, unfinished_plain, made_up_key])
async def test_bodies_of_strangers_take_little_memory_which_is_given_back(
    start_site: StartSite, request_of: Callable[[], bytes]
) -> None:
    site = await start_site(
        workers="1", bodies_bytes_max=str(BODIES_BYTES_MAX), body_timeout_s="60"
    )
    key = await site.make_key()
    (pid,) = site.service.worker_pids
    async with sending(site, key) as sender:
        await asyncio.sleep(2)
        before_bytes, usual_s = resident_bytes(pid), sender.take_median_s()

        connections = await attack(site, request_of)
        answers = await answers_of(connections)
        most_bytes, attacked_s = resident_bytes(pid, "VmHWM"), sender.take_median_s()
        for one in connections:
            one.close()

        async def is_given_back() -> bool:
            return resident_bytes(pid) < before_bytes + GROWTH_BYTES_LASTING

        await until(is_given_back, SETTLE_S, "the memory is given back")

    assert most_bytes < before_bytes + GROWTH_BYTES_MAX
    assert {200} == set(sender.statuses)
    assert attacked_s < 50 * usual_s
    assert {each.status for each in answers} <= {401, 503}
    for each in answers:
        if each.status == 503:
            assert "overloaded" == each.json()["code"]
            assert int(each.headers["retry-after"]) >= 1


async def test_a_refused_body_is_answered_and_counted(start_site: StartSite) -> None:
    site = await start_site(workers="1", bodies_bytes_max="65536")
    key = await site.make_key()
    half = wire.post("/v1/batch", "X-API-Key: %s", "Content-Length: 200001", sized=False)
    half = half.replace(b"%s", key.api_key.encode()) + b" " * 200_000
    connection = await wire.connect(site.service.url)
    try:
        await connection.send(half)
        answer = await connection.answer()
    finally:
        connection.close()

    assert answer is not None
    assert (503, "overloaded") == (answer.status, answer.json()["code"])
    assert 32_768 == answer.json()["limit"] < answer.json()["actual"]
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(site.service.metrics_url)).text
    assert 'forebay_bodies_refused_total{limit="key"} 1.0' in metrics
    assert "forebay_workers_memory_bytes " in metrics


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_http_server_of_a_worker_gives_free_memory_back(shared: Site) -> None:
    for pid in shared.service.worker_pids:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        (options,) = [one for one in environment if one.startswith(b"_RJEM_MALLOC_CONF=")]
        assert b"dirty_decay_ms:1000" in options


async def test_a_small_body_is_never_refused_for_memory(start_site: StartSite) -> None:
    """It is complete with its first chunk. So senders with the key in the body are unharmed too."""
    site = await start_site(workers="1", bodies_bytes_max="65536", body_timeout_s="60")
    key = await site.make_key()
    connections = [await wire.connect(site.service.url) for _ in range(20)]
    try:
        for one in connections:
            await one.send(unfinished_gzip())
        async with site.client() as client:
            answers = [
                await client.post("/v1/track", json=track() | {"writeKey": key.api_key})
                for _ in range(20)
            ]
    finally:
        for one in connections:
            one.close()

    assert {200} == {answer.status_code for answer in answers}


@pytest.mark.parametrize("chunk", [b"1\r\n \r\n", b"a\r\n          \r\n"])
async def test_a_body_that_trickles_in_is_given_up_in_time(
    start_site: StartSite, chunk: bytes
) -> None:
    site = await start_site(workers="1", body_timeout_s="1")
    connection = await wire.connect(site.service.url)
    statuses = Counter[int]()

    async def trickle() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send(chunk)
                await asyncio.sleep(0.02)

    sending_task = asyncio.ensure_future(trickle())
    try:
        await connection.send(wire.post("/v1/batch", "Transfer-Encoding: chunked", sized=False))
        async with asyncio.timeout(10):
            answer = await connection.answer()
    finally:
        sending_task.cancel()
        connection.close()
    if answer is not None:
        statuses[answer.status] += 1
        assert "body_timeout" == answer.json()["code"]
    assert set(statuses) <= {503}
