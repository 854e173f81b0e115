"""
Cached keys while look-ups fail or are slow: which may be used, and for how long.

If these tests fail: an outage of the database refuses all senders, or revoked keys stay valid.
"""

import asyncio
from datetime import timedelta

import pytest

from service.apikey import mint
from service.reasons import Reason
from tests.doubles import NOON, FixedClock, make_key
from tests.unit.pipeline.key_rings import (
    STALE_MAX_S,
    TTL_S,
    GatedTable,
    Outage,
    idle,
    known,
    refused,
    ring,
)


async def test_a_valid_key_is_used_within_the_limit_while_look_ups_fail() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = Outage(key)
    keys = ring(table, clock)
    cached = await keys.authenticate(minted.text.encode())
    table.error = OSError("away")

    clock.advance(STALE_MAX_S - 0.001)
    assert cached is await keys.authenticate(minted.text.encode())
    assert keys.is_current(cached)
    clock.advance(0.001)
    assert Reason.STORE_UNAVAILABLE == await refused(keys, minted.text)
    assert not keys.is_current(cached)

    table.error = None
    assert key == (await keys.authenticate(minted.text.encode())).key


async def test_while_look_ups_fail_a_key_in_use_is_looked_up_once_a_second() -> None:
    clock, minted = FixedClock(), mint()
    table = Outage(make_key(minted))
    keys = ring(table, clock)
    cached = await keys.authenticate(minted.text.encode())
    table.error = OSError("away")
    clock.advance(TTL_S)

    for _ in range(20):
        assert cached is await keys.authenticate(minted.text.encode())
        await idle()
        clock.advance(0.1)

    assert 3 == len(table.lookups)


async def test_a_key_that_was_not_used_during_an_outage_is_looked_up_after_it() -> None:
    """A failed look-up is no reason to use a key for long when the store answers again."""
    clock, minted = FixedClock(), mint()
    table = Outage(make_key(minted))
    keys = ring(table, clock)
    await keys.authenticate(minted.text.encode())
    table.error = OSError("away")
    clock.advance(TTL_S)
    await keys.authenticate(minted.text.encode())

    table.error = None
    table.keys.clear()
    clock.advance(10)

    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)


@pytest.mark.parametrize("is_expired", [False, True])
async def test_a_key_known_to_be_invalid_is_never_used_while_look_ups_fail(
    is_expired: bool,
) -> None:
    clock, minted = FixedClock(), mint()
    expires_at = NOON + timedelta(seconds=20) if is_expired else None
    table = Outage(make_key(minted, is_disabled=not is_expired, expires_at=expires_at))
    keys = ring(table, clock)
    if is_expired:
        await keys.authenticate(minted.text.encode())
        clock.advance(20)
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    table.error = OSError("away")

    clock.advance(TTL_S)

    assert Reason.STORE_UNAVAILABLE == await refused(keys, minted.text)


async def test_a_changed_key_is_never_used_while_look_ups_fail() -> None:
    minted = mint()
    table = Outage(make_key(minted))
    keys = ring(table)
    cached = await keys.authenticate(minted.text.encode())
    table.error = OSError("away")

    keys.forget(minted.credential.key_id)

    assert Reason.STORE_UNAVAILABLE == await refused(keys, minted.text)
    assert not keys.is_current(cached)


async def test_after_missed_changes_a_key_is_looked_up_and_still_used_if_that_fails() -> None:
    clock, minted = FixedClock(), mint()
    table = Outage(make_key(minted))
    keys = ring(table, clock)
    cached = await keys.authenticate(minted.text.encode())
    table.error = OSError("away")

    keys.forget_all()

    assert not keys.is_current(cached)
    assert cached is await keys.authenticate(minted.text.encode())
    assert 2 == len(table.lookups)


async def test_a_good_key_is_used_on_while_its_look_up_is_slow_within_the_bound() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = GatedTable()
    keys = ring(table, clock, stale_after_s=0.01)
    cached = await known(keys, table, minted.text, key)

    clock.advance(STALE_MAX_S - 0.001)
    assert cached is await keys.authenticate(minted.text.encode())
    assert keys.is_current(cached)
    clock.advance(0.001)
    assert not keys.is_current(cached)
    late = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await asyncio.sleep(0.05)
    assert not late.done()

    table.answer(1, key)

    assert key == (await late).key
    assert 2 == len(table.asked)


async def test_a_slow_look_up_counts_when_it_is_answered() -> None:
    clock, minted = FixedClock(), mint()
    table = GatedTable()
    keys = ring(table, clock, stale_after_s=0.01)
    cached = await known(keys, table, minted.text, make_key(minted))
    clock.advance(TTL_S)
    assert cached is await keys.authenticate(minted.text.encode())

    table.answer(1, make_key(minted, is_disabled=True))
    await idle()

    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    assert not keys.is_current(cached)


async def test_a_changed_key_is_never_used_while_its_look_up_is_slow() -> None:
    clock, minted = FixedClock(), mint()
    table = GatedTable()
    keys = ring(table, clock, stale_after_s=0.01)
    cached = await known(keys, table, minted.text, make_key(minted))
    clock.advance(TTL_S)
    waiting = asyncio.create_task(refused(keys, minted.text))
    await table.until_asked()

    keys.forget(minted.credential.key_id)
    await asyncio.sleep(0.05)

    assert not waiting.done()
    assert not keys.is_current(cached)
    table.answer(1)
    assert Reason.UNAUTHORIZED == await waiting
