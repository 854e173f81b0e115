"""Headers in the cache: each is good for exactly as long as its key is."""

import asyncio
from datetime import timedelta

import pytest

from service.apikey import mint
from service.reasons import Refusal
from service.testing import NOON, FixedClock, KeyTable, make_key
from tests.unit.edge.rings import TTL_S, HeldTable, bearer, ring
from tests.unit.edge.test_key_headers import basic


async def test_headers_without_a_key_name_none() -> None:
    table = KeyTable()

    assert await ring(table).in_headers({b"accept": b"*/*"}) is None
    assert [] == table.lookups


async def test_a_header_is_good_for_as_long_as_its_key_is() -> None:
    clock, minted = FixedClock(), mint()
    key = make_key(minted)
    table = KeyTable(key)
    keys = ring(table, clock)
    text = minted.text.encode()
    headers = [bearer(minted.text), {b"x-api-key": text}, {b"authorization": basic(text + b":")}]
    for one in headers:
        assert keys.cached(one) is None
        await keys.in_headers(one)

    for one in headers:
        assert keys.cached(one) is await keys.authenticate(minted.text)
    assert [key.key_id] == table.lookups
    clock.advance(TTL_S)
    for one in headers:
        assert keys.cached(one) is None


async def test_a_header_says_nothing_in_the_place_of_another() -> None:
    """The same bytes are a key in one header, and no scheme with a key in the other."""
    minted = mint()
    keys = ring(KeyTable(make_key(minted)))
    text = minted.text.encode()
    await keys.in_headers({b"x-api-key": text})

    assert keys.cached({b"authorization": text}) is None
    assert await keys.in_headers({b"authorization": text}) is None
    with pytest.raises(Refusal):
        await keys.in_headers({b"authorization": b"Bearer", b"x-api-key": text})


async def test_of_two_keys_only_the_first_counts_however_well_known_the_second_is() -> None:
    good, stranger = mint(), mint()
    keys = ring(KeyTable(make_key(good)))
    text = good.text.encode()
    await keys.in_headers({b"x-api-key": text})
    headers = bearer(stranger.text) | {b"x-api-key": text}

    assert keys.cached(headers) is None
    with pytest.raises(Refusal):
        await keys.in_headers(headers)


async def test_another_scheme_beside_a_key_changes_nothing() -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table)
    headers = {b"authorization": b"Negotiate abc", b"x-api-key": minted.text.encode()}

    for _ in range(3):
        assert await keys.in_headers(headers) is not None

    assert 1 == len(table.lookups)
    assert keys.cached({b"authorization": b"Negotiate abc"}) is None


@pytest.mark.parametrize("is_all", [False, True])
async def test_a_header_is_forgotten_with_its_key(is_all: bool) -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table)
    await keys.in_headers(bearer(minted.text))

    table.keys.clear()
    if is_all:
        keys.forget_all()
    else:
        keys.forget(minted.credential.key_id)

    assert keys.cached(bearer(minted.text)) is None
    with pytest.raises(Refusal):
        await keys.in_headers(bearer(minted.text))


async def test_the_expiry_of_a_key_is_checked_at_every_header() -> None:
    clock, minted = FixedClock(), mint()
    keys = ring(KeyTable(make_key(minted, expires_at=NOON + timedelta(seconds=10))), clock)
    await keys.in_headers(bearer(minted.text))

    clock.advance(10)

    assert keys.cached(bearer(minted.text)) is None
    with pytest.raises(Refusal):
        await keys.in_headers(bearer(minted.text))


async def test_a_header_whose_key_changes_while_it_is_looked_up_is_looked_up_again() -> None:
    minted = mint()
    table = HeldTable()
    keys = ring(table)
    asking = asyncio.create_task(keys.in_headers(bearer(minted.text)))
    await table.until_asked()
    keys.forget(minted.credential.key_id)
    table.answer(0, make_key(minted))
    await asking

    assert keys.cached(bearer(minted.text)) is None
    again = asyncio.create_task(keys.in_headers(bearer(minted.text)))
    await table.until_asked()
    table.answer(1)

    with pytest.raises(Refusal):
        await again


async def test_no_more_headers_are_remembered_than_keys() -> None:
    minted = mint()
    keys = ring(KeyTable(make_key(minted)), keys_max=2)
    for number in range(9):
        pair = f"{minted.text}:{number}".encode()
        await keys.in_headers({b"authorization": basic(pair)})

    assert len(keys._headers) <= 2
