"""Stores and caches for tests of authentication."""

import asyncio
from collections.abc import Sequence

import pytest

from service.edge.keys import CachedKey, KeyCacheConfig, KeyRing
from service.edge.lookups import Lookups
from service.edge.request import Headers
from service.model import ApiKey
from service.reasons import Reason, Refusal
from service.testing import FixedClock, KeyTable

TTL_S = 30.0
STALE_MAX_S = 300.0
TIMEOUT_S = 2.0


class HeldTable:
    """Answers none of its look-ups by itself."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.cancelled = 0
        self._answers: list[asyncio.Future[list[ApiKey]]] = []
        self._begun: asyncio.Queue[None] = asyncio.Queue()

    async def until_asked(self) -> None:
        """Wait for the next statement to begin."""
        await self._begun.get()

    def answer(self, place: int, *keys: ApiKey) -> None:
        """Answer a statement, by its place in `asked`."""
        self._answers[place].set_result(list(keys))

    def fail(self, place: int, error: BaseException) -> None:
        """Let a statement fail."""
        self._answers[place].set_exception(error)

    async def find(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        answer: asyncio.Future[list[ApiKey]] = asyncio.get_running_loop().create_future()
        self.asked.append(list(key_ids))
        self._answers.append(answer)
        self._begun.put_nowait(None)
        try:
            return {key.key_id: key for key in await answer}
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Outage(KeyTable):
    """A store that answers while `error` is None."""

    error: Exception | None = None

    async def find(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        found = await super().find(key_ids)
        if self.error is not None:
            raise self.error
        return found


def ring(
    table: KeyTable | HeldTable, clock: FixedClock | None = None, keys_max: int = 9
) -> KeyRing:
    return KeyRing(
        Lookups(table.find, timeout_s=TIMEOUT_S),
        clock or FixedClock(),
        KeyCacheConfig(ttl_s=TTL_S, stale_max_s=STALE_MAX_S, keys_max=keys_max),
    )


async def refused(keys: KeyRing, text: str) -> Reason:
    with pytest.raises(Refusal) as caught:
        await keys.authenticate(text)
    return caught.value.reason


def bearer(text: str) -> Headers:
    return {b"authorization": b"Bearer " + text.encode()}


async def known(keys: KeyRing, table: HeldTable, text: str, key: ApiKey) -> CachedKey:
    """Let *keys* know a key, by a header."""
    asking = asyncio.create_task(keys.in_headers(bearer(text)))
    await table.until_asked()
    table.answer(len(table.asked) - 1, key)
    cached = await asking
    assert cached is not None
    return cached


async def settled() -> None:
    """Let all that can run without a further answer run."""
    for _ in range(9):
        await asyncio.sleep(0)
