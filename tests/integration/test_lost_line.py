"""
A connection that accepts no more data in the middle of COPY, and may then be lost.

If these tests fail: a network fault makes a flush hang, and its senders wait for minutes.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from service.reasons import Reason
from service.store.connections import PoolConfig
from tests.doubles import Sender, make_event
from tests.integration.line import Line

TIMEOUT_S = 2.0
ENDED_S = 5 * TIMEOUT_S
RESET = struct.pack("ii", 1, 0)
# Many times the size of the buffers between client and server.
EVENTS, TEXT = 500, "x" * 20_000


class FullLine(Line):
    """A proxy that stops reading from the client once COPY has begun."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_full = asyncio.Event()
        self._client: asyncio.StreamWriter | None = None

    def reset(self) -> None:
        """Reset the connection, as when the machine of the server restarts."""
        assert self._client is not None
        self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._client.transport.abort()

    async def close(self) -> None:
        """End all connections and tasks."""
        for task in self._tasks:
            task.cancel()
        await super().close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        feed = asyncio.StreamReader()
        self._tasks.add(asyncio.create_task(self._take(reader, feed, writer)))
        await super()._join(feed, writer)

    async def _take(
        self, reader: asyncio.StreamReader, feed: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(65_536):
            feed.feed_data(chunk)
            if b'COPY "events"' in chunk:
                self._client = client
                reading: Any = client.transport
                reading.pause_reading()
                self.is_full.set()
                return
        feed.feed_eof()


@pytest.fixture
async def full_line(database_url: str) -> AsyncIterator[FullLine]:
    made = FullLine(database_url)
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize("is_lost", [False, True], ids=["silent", "lost"])
@pytest.mark.parametrize("way", ["copy"])
async def test_a_flush_that_blocks_in_copy_ends_soon_after_its_deadline(
    make_store: Any, store_config: PoolConfig, full_line: FullLine, sender: Sender, is_lost: bool
) -> None:
    """Deadline 2 s, then one second until the cancel; limit: five times the deadline."""
    url = msgspec.structs.replace(store_config, url=full_line.url).url
    store = await make_store(url=url)
    payload = sender.payload(*(make_event(properties={"text": TEXT}) for _ in range(EVENTS)))
    began = time.monotonic()
    writing = asyncio.create_task(store.written(payload, timeout_s=TIMEOUT_S))
    await full_line.is_full.wait()
    await asyncio.sleep(0.3)  # until the buffers are full
    if is_lost:
        full_line.reset()

    done, _ = await asyncio.wait({writing}, timeout=ENDED_S)

    assert done, f"not ended after {time.monotonic() - began:.1f} s"
    (refusal,) = writing.result()
    assert Reason.STORE_UNAVAILABLE == refusal.reason
