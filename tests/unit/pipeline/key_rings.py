"""Stores and caches for tests of authentication."""

import asyncio
from collections.abc import Sequence

import pytest

from service.model import ApiKey
from service.pipeline.keys import CachedKey, KeyCacheConfig, KeyRing
from service.reasons import Reason, RefusedError
from tests.doubles import FixedClock, KeyTable

TTL_S = 30.0
STALE_MAX_S = 300.0
TIMEOUT_S = 2.0
LOOKUPS_MAX = 1_000


class GatedTable:
    """A table of keys whose look-ups wait for the test to answer them."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.cancelled = 0
        self._answers: list[asyncio.Future[list[ApiKey]]] = []
        self._begun: asyncio.Queue[None] = asyncio.Queue()

    async def until_asked(self) -> None:
        """Wait for the next statement to begin."""
        await self._begun.get()

    def answer(self, number: int, *keys: ApiKey) -> None:
        """Answer a statement, by its index in `asked`."""
        self._answers[number].set_result(list(keys))

    def fail(self, number: int, error: BaseException) -> None:
        """Let a statement fail."""
        self._answers[number].set_exception(error)

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
    """A table of keys that answers while `error` is None."""

    error: Exception | None = None

    async def find(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        found = await super().find(key_ids)
        if self.error is not None:
            raise self.error
        return found


def ring(
    table: KeyTable | GatedTable,
    clock: FixedClock | None = None,
    *,
    keys_max: int = 9,
    stale_after_s: float = TIMEOUT_S,
    lookups_max: int = LOOKUPS_MAX,
) -> KeyRing:
    config = KeyCacheConfig(
        ttl_s=TTL_S,
        stale_max_s=STALE_MAX_S,
        stale_after_s=stale_after_s,
        keys_max=keys_max,
        lookup_timeout_s=TIMEOUT_S,
        lookups_max=lookups_max,
        lookup_pause_s=0,
    )
    return KeyRing(table.find, clock or FixedClock(), config, lambda _result, _keys: None)


async def refused(keys: KeyRing, text: str) -> Reason:
    with pytest.raises(RefusedError) as caught:
        await keys.authenticate(text.encode())
    return caught.value.reason


async def known(keys: KeyRing, table: GatedTable, text: str, key: ApiKey) -> CachedKey:
    """Have *keys* look a key up, and return its cache entry."""
    asking = asyncio.create_task(keys.authenticate(text.encode()))
    await table.until_asked()
    table.answer(len(table.asked) - 1, key)
    return await asking


async def idle() -> None:
    """Run everything that does not wait for an answer."""
    for _ in range(9):
        await asyncio.sleep(0)
