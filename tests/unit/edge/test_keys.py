"""The key of a request: where it is read, who is asked, and for how long it is believed."""

import asyncio
import base64
from collections import Counter
from datetime import timedelta

import pytest

from service.apikey import mint
from service.edge.keys import KeyRing, key_in_headers
from service.edge.request import Headers
from service.model import ApiKey
from service.reasons import Reason, Refusal
from service.testing import NOON, FixedClock, KeyTable, make_key

TTL_S = 30.0


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


class HeldTable:
    """A store whose answers are given by the test, one future per look-up."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[ApiKey | None]] = []
        self._asked: asyncio.Queue[None] = asyncio.Queue()

    async def until_asked(self) -> None:
        """Wait for the next look-up to begin."""
        await self._asked.get()

    async def find(self, _key_id: str) -> ApiKey | None:
        answer: asyncio.Future[ApiKey | None] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        self._asked.put_nowait(None)
        return await answer


def ring(
    table: KeyTable | HeldTable, clock: FixedClock | None = None, keys_max: int = 9
) -> KeyRing:
    return KeyRing(table.find, clock or FixedClock(), ttl_s=TTL_S, keys_max=keys_max)


async def refused(keys: KeyRing, text: str) -> Reason:
    with pytest.raises(Refusal) as caught:
        await keys.authenticate(text)
    return caught.value.reason


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"authorization": basic(b"key:")}, "key"),
        ({b"authorization": basic(b"key:password")}, "key"),
        ({b"authorization": basic(b"key")}, "key"),
        ({b"authorization": b"bAsIc  " + base64.b64encode(b"key:")}, "key"),
        ({b"authorization": b"Bearer key"}, "key"),
        ({b"authorization": b" bearer   key "}, "key"),
        ({b"x-api-key": b" key "}, "key"),
        ({b"x-write-key": b"key"}, "key"),
        ({b"x-api-key": b"first", b"x-write-key": b"second"}, "first"),
        ({b"authorization": b"Bearer first", b"x-api-key": b"second"}, "first"),
        ({b"x-api-key": b""}, ""),
        ({}, None),
    ],
)
def test_a_key_is_read_from_the_first_header_that_may_hold_one(
    headers: dict[bytes, bytes], expected: str | None
) -> None:
    assert expected == key_in_headers(headers)


@pytest.mark.parametrize(
    "value", [b"", b"Basic", b"Basic ***", b"Basic a2V5O", b"Digest key", b"key", b"Bearer"]
)
def test_an_authorization_that_cannot_be_read_is_a_bad_key_not_a_missing_one(value: bytes) -> None:
    assert "" == key_in_headers({b"authorization": value, b"x-api-key": b"another"})


@pytest.mark.parametrize("text", ["", "nonsense", "fb1_", "\xff" * 54, "\x00" * 54])
async def test_what_cannot_be_a_key_is_refused_without_asking(text: str) -> None:
    table = KeyTable()

    assert Reason.UNAUTHORIZED == await refused(ring(table), text)
    assert [] == table.lookups


async def test_a_known_key_is_looked_up_once() -> None:
    minted = mint()
    key = make_key(minted)
    table = KeyTable(key)
    keys = ring(table)

    assert [key, key] == [await keys.authenticate(minted.text) for _ in range(2)]
    assert [key.key_id] == table.lookups


async def test_requests_that_come_together_share_one_look_up() -> None:
    minted = mint()
    key = make_key(minted)
    table = HeldTable()
    keys = ring(table)
    requests = [asyncio.create_task(keys.authenticate(minted.text)) for _ in range(5)]
    await table.until_asked()

    table.answers[0].set_result(key)

    assert [key] * 5 == await asyncio.gather(*requests)
    assert 1 == len(table.answers)


async def test_an_unknown_key_is_remembered_too() -> None:
    table = KeyTable()
    keys = ring(table)
    text = mint().text

    assert [Reason.UNAUTHORIZED] * 2 == [await refused(keys, text) for _ in range(2)]
    assert 1 == len(table.lookups)


async def test_an_unknown_id_and_a_wrong_secret_are_answered_alike() -> None:
    minted = mint()
    table = KeyTable(make_key(minted, secret_sha256=bytes(31) + b"\x01"))
    keys = ring(table)
    wrong_secret, unknown_id = minted.text, mint().text

    answers = []
    for text in (wrong_secret, unknown_id):
        with pytest.raises(Refusal) as caught:
            await keys.authenticate(text)
        answers.append((caught.value.reason, caught.value.message, caught.value.details))

    assert answers[0] == answers[1]
    assert 2 == len(table.lookups)


async def test_a_key_that_is_nobodys_never_opens_though_its_digest_be_zero() -> None:
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
    assert key == await keys.authenticate(minted.text)
    clock.advance(0.001)
    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    assert 1 == len(table.lookups)


async def test_a_key_is_believed_no_longer_than_its_time() -> None:
    clock, minted = FixedClock(), mint()
    table = KeyTable(make_key(minted))
    keys = ring(table, clock)
    await keys.authenticate(minted.text)

    clock.advance(TTL_S - 0.001)
    await keys.authenticate(minted.text)
    assert 1 == len(table.lookups)
    clock.advance(0.002)
    await keys.authenticate(minted.text)
    assert 2 == len(table.lookups)


async def test_no_more_keys_are_remembered_than_allowed() -> None:
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
        await keys.authenticate(minted.text)

    keys.forget(one.credential.key_id)
    table.keys.clear()

    assert Reason.UNAUTHORIZED == await refused(keys, one.text)
    await keys.authenticate(other.text)
    keys.forget_all()
    assert Reason.UNAUTHORIZED == await refused(keys, other.text)


@pytest.mark.parametrize("is_all", [False, True])
async def test_what_was_forgotten_while_it_was_looked_up_is_not_remembered(is_all: bool) -> None:
    minted = mint()
    table = HeldTable()
    keys = ring(table)
    before = asyncio.create_task(keys.authenticate(minted.text))
    await table.until_asked()

    if is_all:
        keys.forget_all()
    else:
        keys.forget(minted.credential.key_id)
    after = asyncio.create_task(keys.authenticate(minted.text))
    await table.until_asked()
    table.answers[1].set_result(make_key(minted, is_disabled=True))
    with pytest.raises(Refusal):
        await after
    table.answers[0].set_result(make_key(minted))
    await before

    assert Reason.UNAUTHORIZED == await refused(keys, minted.text)
    assert 2 == len(table.answers)


@pytest.mark.parametrize("error", [OSError("away"), TimeoutError(), RuntimeError("bug")])
async def test_a_store_that_cannot_answer_is_503_never_401(error: Exception) -> None:
    minted = mint()
    table = HeldTable()
    keys = ring(table)
    requests = [asyncio.create_task(keys.authenticate(minted.text)) for _ in range(2)]
    await table.until_asked()

    table.answers[0].set_exception(error)

    ended = await asyncio.gather(*requests, return_exceptions=True)
    assert [Reason.STORE_UNAVAILABLE] * 2 == [
        refusal.reason for refusal in ended if isinstance(refusal, Refusal)
    ]


async def test_a_failed_look_up_is_not_remembered() -> None:
    minted = mint()
    key = make_key(minted)
    table = HeldTable()
    keys = ring(table)
    failed = asyncio.create_task(keys.authenticate(minted.text))
    await table.until_asked()
    table.answers[0].set_exception(OSError("away"))
    with pytest.raises(Refusal):
        await failed

    again = asyncio.create_task(keys.authenticate(minted.text))
    await table.until_asked()
    table.answers[1].set_result(key)

    assert key == await again


async def test_a_request_that_is_given_up_does_not_take_the_look_up_with_it() -> None:
    minted = mint()
    key = make_key(minted)
    table = HeldTable()
    keys = ring(table)
    gone, staying = (asyncio.create_task(keys.authenticate(minted.text)) for _ in range(2))
    await table.until_asked()

    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    table.answers[0].set_result(key)

    assert gone.cancelled()
    assert key == await staying


async def test_a_flood_of_made_up_keys_is_looked_up_two_by_two_and_bounded() -> None:
    under_way: list[str] = []
    most = 0
    gate, has_two = asyncio.Event(), asyncio.Event()

    async def find(key_id: str) -> ApiKey | None:
        nonlocal most
        under_way.append(key_id)
        most = max(most, len(under_way))
        if most == 2:
            has_two.set()
        await gate.wait()
        under_way.remove(key_id)
        return None

    ring = KeyRing(find, FixedClock(), ttl_s=30, keys_max=1_000)
    asking = [asyncio.create_task(ring.authenticate(mint().text)) for _ in range(300)]
    await has_two.wait()
    gate.set()
    reasons = Counter([await _reason(task) for task in asking])

    assert 2 == most
    assert {Reason.UNAUTHORIZED: 256, Reason.OVERLOADED: 44} == reasons


async def _reason(task: "asyncio.Task[ApiKey]") -> Reason:
    with pytest.raises(Refusal) as caught:
        await task
    return caught.value.reason


def bearer(text: str) -> Headers:
    return {b"authorization": b"Bearer " + text.encode()}


async def test_headers_without_a_key_name_none() -> None:
    table = KeyTable()

    assert await ring(table).in_headers({b"accept": b"*/*"}) is None
    assert [] == table.lookups


async def test_a_header_is_believed_as_its_key_is() -> None:
    minted = mint()
    key = make_key(minted)
    table = KeyTable(key)
    keys = ring(table)
    text = minted.text.encode()
    headers = [bearer(minted.text), {b"x-api-key": text}, {b"authorization": basic(text + b":")}]

    for one in headers * 3:
        assert key == await keys.in_headers(one)

    assert [key.key_id] == table.lookups


async def test_a_header_says_nothing_in_the_place_of_another() -> None:
    """The same bytes are a key in one header, and no scheme with a key in the other."""
    minted = mint()
    keys = ring(KeyTable(make_key(minted)))
    text = minted.text.encode()
    for _ in range(3):
        await keys.in_headers({b"x-api-key": text})

    with pytest.raises(Refusal):
        await keys.in_headers({b"authorization": text})
    with pytest.raises(Refusal):
        await keys.in_headers({b"authorization": b"Bearer", b"x-api-key": text})


async def believed(keys: KeyRing, headers: Headers) -> None:
    """Let *headers* be believed: they are remembered once their key is."""
    for _ in range(3):
        await keys.in_headers(headers)


@pytest.mark.parametrize("is_all", [False, True])
async def test_a_believed_header_is_forgotten_with_its_key(is_all: bool) -> None:
    minted = mint()
    table = KeyTable(make_key(minted))
    keys = ring(table)
    await believed(keys, bearer(minted.text))

    table.keys.clear()
    if is_all:
        keys.forget_all()
    else:
        keys.forget(minted.credential.key_id)

    with pytest.raises(Refusal):
        await keys.in_headers(bearer(minted.text))


async def test_a_believed_header_is_believed_no_longer_than_its_key() -> None:
    clock, minted = FixedClock(), mint()
    table = KeyTable(make_key(minted))
    keys = ring(table, clock)
    await keys.in_headers(bearer(minted.text))
    clock.advance(TTL_S - 0.001)
    await believed(keys, bearer(minted.text))
    assert 1 == len(table.lookups)

    table.keys.clear()
    clock.advance(0.002)

    with pytest.raises(Refusal):
        await keys.in_headers(bearer(minted.text))


async def test_the_expiry_of_a_key_is_checked_at_every_believed_header() -> None:
    clock, minted = FixedClock(), mint()
    keys = ring(KeyTable(make_key(minted, expires_at=NOON + timedelta(seconds=10))), clock)
    await believed(keys, bearer(minted.text))

    clock.advance(10)

    with pytest.raises(Refusal):
        await keys.in_headers(bearer(minted.text))


async def test_a_header_whose_key_changes_while_it_is_looked_up_is_not_believed() -> None:
    minted = mint()
    table = HeldTable()
    keys = ring(table)
    asking = asyncio.create_task(keys.in_headers(bearer(minted.text)))
    await table.until_asked()
    keys.forget(minted.credential.key_id)
    table.answers[0].set_result(make_key(minted))
    await asking

    again = asyncio.create_task(keys.in_headers(bearer(minted.text)))
    await table.until_asked()
    table.answers[1].set_result(None)

    with pytest.raises(Refusal):
        await again


async def test_no_more_headers_are_remembered_than_keys() -> None:
    minted = mint()
    keys = ring(KeyTable(make_key(minted)), keys_max=2)
    for number in range(9):
        pair = f"{minted.text}:{number}".encode()
        await keys.in_headers({b"authorization": basic(pair)})

    assert len(keys._headers) <= 2
