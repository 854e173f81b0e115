"""
Key look-ups: they share statements, and each ends before its deadline.

If these tests fail: requests hang while the database does not answer, or unknown keys block it.
"""

import asyncio
import time
from collections.abc import Sequence

import pytest

from service.model import ApiKey
from service.pipeline.keys import Lookups
from tests.doubles import KeyTable, make_key
from tests.unit.pipeline.key_rings import GatedTable

TIMEOUT_S = 0.1


async def test_a_key_is_found_and_an_unknown_id_is_none() -> None:
    key = make_key()
    lookups = Lookups(KeyTable(key).find, timeout_s=5)

    assert key == await lookups.begin(key.key_id)
    assert await lookups.begin("unknown") is None


async def test_ids_that_arrive_while_two_statements_run_share_the_next_one() -> None:
    table = GatedTable()
    lookups = Lookups(table.find, timeout_s=5)
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
    lookups = Lookups(table.find, timeout_s=5)
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
    lookups = Lookups(table.find, timeout_s=TIMEOUT_S)
    started = time.monotonic()

    ended = await asyncio.gather(
        *(lookups.begin(str(number)) for number in range(200)), return_exceptions=True
    )

    assert {TimeoutError} == {type(error) for error in ended}
    assert time.monotonic() - started < 5 * TIMEOUT_S
    assert len(table.asked) == table.cancelled == 3


async def test_the_bound_counts_ids_that_wait() -> None:
    table = GatedTable()
    lookups = Lookups(table.find, timeout_s=TIMEOUT_S)
    was_full = []
    begun = []
    for number in range(259):
        was_full.append(lookups.is_full)
        begun.append(lookups.begin(str(number)))

    await asyncio.gather(*begun, return_exceptions=True)

    assert [False] * 258 + [True] == was_full
    assert not lookups.is_full


async def test_an_error_fails_every_look_up_of_its_statement_and_no_other() -> None:
    table = GatedTable()
    lookups = Lookups(table.find, timeout_s=5)
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
        await Lookups(find, timeout_s=5).begin("a")
