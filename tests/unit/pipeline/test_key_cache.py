"""
The cache of verified key texts: a text is valid exactly as long as its key.

If these tests fail: a revoked, expired or changed key can still store events.
"""

import asyncio
from datetime import timedelta

import pytest

from service.apikey import mint
from service.reasons import Reason
from tests.doubles import NOON, FixedClock, KeyTable, make_key
from tests.unit.pipeline.key_rings import TTL_S, GatedTable, refused, ring


async def test_a_text_is_valid_for_as_long_as_its_key() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = KeyTable(key)
    keys = ring(table, clock)
    text = minted.text.encode()
    assert keys.cached(text) is None
    await keys.authenticate(text)

    assert keys.cached(text) is await keys.authenticate(text)
    assert [key.key_id] == table.lookups
    clock.advance(TTL_S)
    assert keys.cached(text) is None


@pytest.mark.parametrize("is_all", [False, True])
async def test_a_text_is_forgotten_with_its_key(is_all: bool) -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table)
    await keys.authenticate(minted.text.encode())

    table.keys.clear()
    if is_all:
        keys.forget_all()
    else:
        keys.forget(minted.credential.key_id)

    assert keys.cached(minted.text.encode()) is None
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)


async def test_the_expiry_of_a_key_is_checked_for_every_cached_text() -> None:
    clock, minted = FixedClock(), mint()
    keys = ring(KeyTable(make_key(minted, expires_at=NOON + timedelta(seconds=10))), clock)
    await keys.authenticate(minted.text.encode())

    clock.advance(10)

    assert keys.cached(minted.text.encode()) is None
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)


async def test_a_text_whose_key_changes_during_its_lookup_is_looked_up_again() -> None:
    minted = mint()
    table = GatedTable()
    keys = ring(table)
    before = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await table.until_asked()
    keys.forget(minted.credential.key_id)
    table.answer(0, make_key(minted))
    await before

    assert keys.cached(minted.text.encode()) is None
    again = asyncio.create_task(refused(keys, minted.text))
    await table.until_asked()
    table.answer(1)

    assert Reason.UNAUTHORIZED == await again


async def test_no_more_texts_are_cached_than_keys() -> None:
    minted = [mint() for _ in range(9)]
    keys = ring(KeyTable(*(make_key(one) for one in minted)), keys_max=2)
    for one in minted:
        await keys.authenticate(one.text.encode())

    assert len(keys._texts) <= 2
