"""
Key look-ups: they share statements, and each ends before its deadline.

If these tests fail: requests hang while the database does not answer, or unknown keys block it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from service.model import ApiKey
from service.pipeline.lookups import FindKeys, Lookup, LookupResult, Lookups, UnknownLimits
from tests.doubles import KeyTable, make_key
from tests.unit.pipeline.key_rings import GatedTable

TIMEOUT_S = 0.1


class Bench:
    """Look-ups, and the count of their results."""

    def __init__(
        self,
        find: FindKeys,
        timeout_s: float = 5,
        unknown_max: int = 1_000,
        pause_s: float = 0,
    ) -> None:
        self.results: Counter[LookupResult] = Counter()
        limits = UnknownLimits(unknown_max, pause_s)
        self._lookups = Lookups(find, self._count, timeout_s=timeout_s, limits=limits)

    def begin(self, key_id: str, *, is_cached: bool = False) -> Lookup:
        lookup = self._lookups.begin(key_id, is_cached=is_cached)
        assert lookup is not None
        return lookup

    def is_refused(self, key_id: str, *, is_cached: bool = False) -> bool:
        return self._lookups.begin(key_id, is_cached=is_cached) is None

    def _count(self, result: LookupResult, keys: int) -> None:
        self.results[result] += keys


async def test_a_key_is_found_and_an_unknown_id_is_none() -> None:
    key = make_key()
    lookups = Bench(KeyTable(key).find)

    assert key == await lookups.begin(key.key_id)
    assert await lookups.begin("unknown") is None


async def test_ids_that_arrive_while_two_statements_run_share_the_next_one() -> None:
    table = GatedTable()
    lookups = Bench(table.find)
    keys = [make_key() for _ in range(6)]
    waiting = [lookups.begin(key.key_id) for key in keys]
    for _ in range(2):
        await table.until_asked()

    table.answer(0, keys[0])
    await table.until_asked()
    table.answer(2, *keys[2:])
    table.answer(1, keys[1])

    assert keys == await asyncio.gather(*waiting)
    ids = [key.key_id for key in keys]
    assert [ids[:1], ids[1:2], ids[2:]] == table.asked


async def test_an_id_that_is_already_waiting_is_looked_up_once() -> None:
    table = GatedTable()
    lookups = Bench(table.find)
    begun = [lookups.begin(key_id) for key_id in ("a", "b", "c", "c")]
    for _ in range(2):
        await table.until_asked()
    table.answer(0)
    await table.until_asked()

    assert ["c"] == table.asked[2]
    assert begun[2] is begun[3]
    table.answer(1)
    table.answer(2)
    await asyncio.gather(*begun)


async def test_every_look_up_ends_at_its_deadline_while_the_store_does_not_answer() -> None:
    """The wait for a statement is part of it, however many ids wait."""
    table = GatedTable()
    lookups = Bench(table.find, TIMEOUT_S)
    started = time.monotonic()

    ended = await asyncio.gather(
        *(lookups.begin(str(number)) for number in range(200)), return_exceptions=True
    )

    assert {TimeoutError} == {type(error) for error in ended}
    assert time.monotonic() - started < 5 * TIMEOUT_S
    assert len(table.asked) == table.cancelled == 3


async def test_further_unknown_ids_are_refused_while_too_many_wait() -> None:
    table = GatedTable()
    lookups = Bench(table.find, unknown_max=3)
    begun = [lookups.begin(str(number)) for number in range(2 + 3)]

    assert lookups.is_refused("5")
    for _ in range(2):
        await table.until_asked()
    table.answer(0)
    await table.until_asked()
    begun.append(lookups.begin("5"))
    table.answer(2)
    await table.until_asked()
    for place in (1, 3):
        table.answer(place)

    await asyncio.gather(*begun)
    assert 1 == lookups.results["refused"]


async def test_a_cached_key_goes_before_unknown_ids_and_is_never_refused() -> None:
    table = GatedTable()
    lookups = Bench(table.find, unknown_max=3)
    key = make_key()
    unknown = [lookups.begin(str(number)) for number in range(2 + 3)]
    cached = lookups.begin(key.key_id, is_cached=True)
    for _ in range(2):
        await table.until_asked()

    table.answer(0)
    await table.until_asked()
    table.answer(2, key)

    assert key == await cached
    assert [["0"], ["1"], [key.key_id]] == table.asked[:3]
    table.answer(1)
    await table.until_asked()
    table.answer(3)
    assert [None] * 5 == await asyncio.gather(*unknown)


async def test_unknown_ids_gather_in_the_pause_after_a_statement_and_cached_keys_do_not() -> None:
    table = GatedTable()
    lookups = Bench(table.find, pause_s=0.05)
    key = make_key()
    started = time.monotonic()
    begun = [lookups.begin("first")]
    await table.until_asked()
    table.answer(0)
    await begun[0]

    begun += [lookups.begin(str(number)) for number in range(3)]
    begun.append(lookups.begin(key.key_id, is_cached=True))
    await table.until_asked()
    assert time.monotonic() - started < 0.05
    await table.until_asked()

    assert time.monotonic() - started >= 0.05
    assert [["first"], [key.key_id], ["0", "1", "2"]] == table.asked
    table.answer(1, key)
    table.answer(2)
    assert [None] * 4 + [key] == await asyncio.gather(*begun)


async def test_a_statement_looks_up_a_limited_number_of_ids_oldest_first() -> None:
    table = GatedTable()
    lookups = Bench(table.find, unknown_max=10_000)
    begun = [lookups.begin(str(number)) for number in range(2 + 2_500)]
    for place in range(5):
        await table.until_asked()
        table.answer(place)

    assert [None] * 2_502 == await asyncio.gather(*begun)
    assert [1, 1, 1_000, 1_000, 500] == [len(ids) for ids in table.asked]
    assert [str(number) for number in range(2_502)] == [i for ids in table.asked for i in ids]


async def test_the_deadline_is_that_of_the_oldest_id_although_some_id_waits_all_the_time() -> None:
    """Otherwise a flood of unknown ids, which never lets the lane become empty, ends look-ups."""
    table = GatedTable()
    lookups = Bench(table.find, timeout_s=1, unknown_max=10_000)
    begun = [lookups.begin(str(number)) for number in range(2 + 1_500)]
    for _ in range(2):
        await table.until_asked()

    for place in range(30):
        await asyncio.sleep(0.05)
        begun += [lookups.begin(f"{place}-{number}") for number in range(1_000)]
        table.answer(place)
        await table.until_asked()
    for place in range(30, 34):
        table.answer(place)
        await asyncio.sleep(0.05)

    assert {"unknown": len(begun)} == +lookups.results


async def test_the_results_of_look_ups_are_counted() -> None:
    key = make_key()
    lookups = Bench(KeyTable(key).find)
    await asyncio.gather(lookups.begin(key.key_id), lookups.begin("a"), lookups.begin("b"))

    async def find(_key_ids: Sequence[str]) -> dict[str, ApiKey]:
        raise OSError("away")

    failing = Bench(find)
    with pytest.raises(OSError, match="away"):
        await failing.begin("a")

    assert {"found": 1, "unknown": 2} == lookups.results
    assert {"failed": 1} == failing.results


async def test_an_error_fails_every_look_up_of_its_statement_and_no_other() -> None:
    table = GatedTable()
    lookups = Bench(table.find)
    key = make_key()
    failing, found = lookups.begin("a"), lookups.begin(key.key_id)
    for _ in range(2):
        await table.until_asked()

    table.fail(0, OSError("away"))
    table.answer(1, key)

    with pytest.raises(OSError, match="away"):
        await failing
    assert key == await found
    again = lookups.begin("a")
    await table.until_asked()
    table.answer(2)
    assert await again is None


async def test_a_cancelled_statement_cancels_no_request() -> None:
    async def find(_key_ids: Sequence[str]) -> dict[str, ApiKey]:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError):
        await Bench(find).begin("a")
