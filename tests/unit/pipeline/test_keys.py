"""
Authentication: when the cache answers, and when the store is asked.

If these tests fail: valid keys get 401 or 503, or keys that were revoked are accepted.
"""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from service.apikey import mint
from service.reasons import Reason, RefusedError
from tests.doubles import NOON, FixedClock, KeyTable, make_key
from tests.unit.pipeline.key_rings import TTL_S, GatedTable, idle, known, refused, ring

if TYPE_CHECKING:
    from service.pipeline.keys import CachedKey


@pytest.mark.parametrize("text", ["", "nonsense", "fb1_", "\xff" * 54, "\x00" * 54])
async def test_a_malformed_key_is_refused_without_a_look_up(text: str) -> None:
    table = KeyTable()

    assert Reason.UNAUTHORIZED == await refused(ring(table), text)
    assert [] == table.lookups


async def test_a_known_key_is_looked_up_once() -> None:
    minted = mint()
    key = make_key(minted)
    table = KeyTable(key)
    keys = ring(table)

    assert [key, key] == [(await keys.authenticate(minted.text.encode())).key for _ in range(2)]
    assert [key.key_id] == table.lookups


async def test_requests_that_come_together_share_one_look_up() -> None:
    minted = mint()
    key = make_key(minted)
    table = GatedTable()
    keys = ring(table)
    requests = [asyncio.create_task(keys.authenticate(minted.text.encode())) for _ in range(5)]
    await table.until_asked()

    table.answer(0, key)

    assert [key] * 5 == [cached.key for cached in await asyncio.gather(*requests)]
    assert [[key.key_id]] == table.asked


async def test_an_unknown_key_is_cached_too() -> None:
    table = KeyTable()
    keys = ring(table)
    text = mint().text

    assert [Reason.UNAUTHORIZED] * 2 == [await refused(keys, text) for _ in range(2)]
    assert 1 == len(table.lookups)


async def test_an_unknown_id_and_a_wrong_secret_get_the_same_answer() -> None:
    minted = mint()
    table = KeyTable(make_key(minted, secret_sha256=bytes(31) + b"\x01"))
    keys = ring(table)
    wrong_secret, unknown_id = minted.text, mint().text

    answers = []
    for text in (wrong_secret, unknown_id):
        with pytest.raises(RefusedError) as caught:
            await keys.authenticate(text.encode())
        answers.append((caught.value.reason, caught.value.message, caught.value.details))

    assert answers[0] == answers[1]
    assert 2 == len(table.lookups)


async def test_an_unknown_key_is_refused_even_if_its_digest_is_zero() -> None:
    minted = mint()

    assert Reason.UNAUTHORIZED == await refused(
        ring(KeyTable(make_key(minted, secret_sha256=bytes(32)))), minted.text
    )


async def test_a_disabled_key_is_refused() -> None:
    minted = mint()

    assert Reason.UNAUTHORIZED == await refused(
        ring(KeyTable(make_key(minted, is_disabled=True))), minted.text
    )


async def test_expiry_is_checked_at_every_hit() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted, expires_at=NOON + timedelta(seconds=10))
    table = KeyTable(key)
    keys = ring(table, clock)

    clock.advance(9.999)
    assert key == (await keys.authenticate(minted.text.encode())).key
    clock.advance(0.001)
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    assert 1 == len(table.lookups)


async def test_a_key_that_is_not_used_is_looked_up_again_after_its_time() -> None:
    clock, minted = FixedClock(), mint()
    table = KeyTable(make_key(minted))
    keys = ring(table, clock)
    await keys.authenticate(minted.text.encode())

    table.keys.clear()
    clock.advance(TTL_S)

    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    assert 2 == len(table.lookups)


async def test_a_key_in_use_is_looked_up_again_before_its_time_and_no_request_waits() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = GatedTable()
    keys = ring(table, clock)
    cached = await known(keys, table, minted.text, key)

    clock.advance(TTL_S * 0.6)
    await keys.authenticate(minted.text.encode())
    assert 1 == len(table.asked)
    clock.advance(TTL_S * 0.2)
    assert cached is await keys.authenticate(minted.text.encode())
    await table.until_asked()
    table.answer(1, key)
    await idle()
    clock.advance(TTL_S * 0.6)

    assert cached is await keys.authenticate(minted.text.encode())
    assert cached is keys.cached(minted.text.encode())
    assert 2 == len(table.asked)


async def test_a_key_whose_secret_changed_is_no_longer_accepted_from_the_cache() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = KeyTable(key)
    keys = ring(table, clock)
    await keys.authenticate(minted.text.encode())
    cached = await keys.authenticate(minted.text.encode())

    table.keys[key.key_id] = make_key(minted, secret_sha256=bytes(31) + b"\x01")
    clock.advance(TTL_S)
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)

    assert keys.cached(minted.text.encode()) is None
    assert not keys.is_current(cached)


async def test_the_least_recently_used_key_is_evicted_first() -> None:
    clock = FixedClock()
    minted = [mint() for _ in range(3)]
    table = KeyTable(*(make_key(one) for one in minted))
    keys = ring(table, clock, keys_max=2)
    for one in minted[:2]:
        await keys.authenticate(one.text.encode())
    clock.advance(TTL_S)
    cached = await keys.authenticate(minted[0].text.encode())
    await keys.authenticate(minted[2].text.encode())
    lookups = len(table.lookups)

    assert cached is await keys.authenticate(minted[0].text.encode())
    assert lookups == len(table.lookups)
    await keys.authenticate(minted[1].text.encode())
    assert lookups + 1 == len(table.lookups)
    # Out of the cache, no notification would find it.
    assert not keys.is_current(cached)


async def test_unknown_ids_evict_no_key() -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table, keys_max=2)
    await keys.authenticate(minted.text.encode())
    for _ in range(9):
        await refused(keys, mint().text)

    await keys.authenticate(minted.text.encode())

    assert 10 == len(table.lookups)


async def test_the_number_of_cached_unknown_ids_is_limited() -> None:
    table = KeyTable()
    keys = ring(table, keys_max=2)
    texts = [mint().text for _ in range(3)]

    for text in (*texts, texts[0]):
        await refused(keys, text)

    assert 4 == len(table.lookups)


async def test_a_forgotten_key_is_looked_up_again() -> None:
    one, other = mint(), mint()
    table = KeyTable(make_key(one), make_key(other))
    keys = ring(table)
    for minted in (one, other):
        await keys.authenticate(minted.text.encode())

    keys.forget(one.credential.key_id)
    table.keys.clear()

    assert Reason.UNAUTHORIZED == await refused(keys, one.text)
    await keys.authenticate(other.text.encode())
    keys.forget_all()
    assert Reason.UNAUTHORIZED == await refused(keys, other.text)


@pytest.mark.parametrize("is_all", [False, True])
async def test_a_key_that_changes_during_its_look_up_is_not_cached(is_all: bool) -> None:
    minted = mint()
    table = GatedTable()
    keys = ring(table)
    before = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await table.until_asked()

    if is_all:
        keys.forget_all()
    else:
        keys.forget(minted.credential.key_id)
    after = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await table.until_asked()
    table.answer(1, make_key(minted, is_disabled=True))
    with pytest.raises(RefusedError):
        await after
    table.answer(0, make_key(minted))

    assert not keys.is_current(await before)
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    assert 2 == len(table.asked)


@pytest.mark.parametrize("error", [OSError("away"), TimeoutError(), RuntimeError("bug")])
async def test_a_store_that_cannot_answer_is_503_never_401(error: Exception) -> None:
    minted = mint()
    table = GatedTable()
    keys = ring(table)
    requests = [asyncio.create_task(keys.authenticate(minted.text.encode())) for _ in range(2)]
    await table.until_asked()

    table.fail(0, error)

    ended = await asyncio.gather(*requests, return_exceptions=True)
    assert [Reason.STORE_UNAVAILABLE] * 2 == [
        refusal.reason for refusal in ended if isinstance(refusal, RefusedError)
    ]


async def test_a_failed_look_up_is_not_cached() -> None:
    minted = mint()
    key = make_key(minted)
    table = GatedTable()
    keys = ring(table)
    failed = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await table.until_asked()
    table.fail(0, OSError("away"))
    with pytest.raises(RefusedError):
        await failed

    again = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await table.until_asked()
    table.answer(1, key)

    assert key == (await again).key


async def test_a_cancelled_request_does_not_cancel_the_look_up() -> None:
    minted = mint()
    key = make_key(minted)
    table = GatedTable()
    keys = ring(table)
    gone, staying = (asyncio.create_task(keys.authenticate(minted.text.encode())) for _ in range(2))
    await table.until_asked()

    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    table.answer(0, key)

    assert gone.cancelled()
    assert key == (await staying).key


async def test_look_ups_of_unknown_keys_are_limited_and_do_not_delay_a_known_key() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = GatedTable()
    keys = ring(table, clock, lookups_max=256)
    await known(keys, table, minted.text, key)
    clock.advance(TTL_S)

    flood = [asyncio.create_task(keys.authenticate(mint().text.encode())) for _ in range(300)]
    for _ in range(2):
        await table.until_asked()
    honest = asyncio.create_task(keys.authenticate(minted.text.encode()))
    await idle()
    overloaded = [task for task in flood if task.done()]
    table.answer(1)
    await table.until_asked()
    table.answer(3, key)

    assert key == (await honest).key
    assert 300 - 2 - 256 == len(overloaded)
    table.answer(2)
    await table.until_asked()
    table.answer(4)
    reasons = Counter([await _reason(task) for task in flood])
    assert {Reason.UNAUTHORIZED: 258, Reason.OVERLOADED: 42} == reasons


async def test_a_key_that_no_worker_knows_is_found_in_a_flood_of_made_up_keys() -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table)
    texts = [mint().text for _ in range(150)]
    flood = [asyncio.create_task(refused(keys, text)) for text in texts]
    honest = asyncio.create_task(keys.authenticate(minted.text.encode()))
    flood += [asyncio.create_task(refused(keys, mint().text)) for _ in range(150)]

    assert minted.credential.key_id == (await honest).key.key_id
    assert {Reason.UNAUTHORIZED} == set(await asyncio.gather(*flood))


async def _reason(task: "asyncio.Task[CachedKey]") -> Reason:
    with pytest.raises(RefusedError) as caught:
        await task
    return caught.value.reason


async def test_a_key_that_is_no_longer_current_is_renewed_or_refused() -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table)
    cached = await keys.authenticate(minted.text.encode())

    keys.forget(cached.key.key_id)
    assert not keys.is_current(cached)
    table.keys[cached.key.key_id] = changed = make_key(minted, events_max=7)
    assert changed is await keys.renew(cached)
    keys.forget(cached.key.key_id)
    table.keys[cached.key.key_id] = make_key(minted, is_disabled=True)

    with pytest.raises(RefusedError) as caught:
        await keys.renew(cached)
    assert Reason.UNAUTHORIZED == caught.value.reason
