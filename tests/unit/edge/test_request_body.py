"""
Reading a body: its size limit, its timeout and its encoding.

If these tests fail: senders lose compressed events, or one sender can use up the memory of a
worker.
"""

import asyncio
import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import pytest

from service.edge.body_budget import BodyBudget
from service.edge.request import (
    ClientGoneError,
    Headers,
    Receive,
    RequestBody,
    body_deadlines,
)
from service.reasons import Reason, RefusedError

PLAIN: Final = b'{"event": "Signed Up"}'
BYTES_MAX: Final = 1_000
# Incompressible content.
NOISE: Final = bytes((i * i * 7919 >> 5) % 256 for i in range(BYTES_MAX))


class Body:
    """The ASGI messages of a body, chunk by chunk; after the last chunk no message arrives."""

    def __init__(self, chunks: Iterable[bytes], *, is_whole: bool = True) -> None:
        self.left = list(chunks)
        self._is_whole = is_whole

    async def receive(self) -> MutableMapping[str, Any]:
        if not self.left:
            await asyncio.get_running_loop().create_future()
        chunk = self.left.pop(0)
        more = bool(self.left) or not self._is_whole
        return {"type": "http.request", "body": chunk, "more_body": more}


def budget(bytes_max: int = 1_000_000) -> BodyBudget:
    return BodyBudget(bytes_max, 1_000, lambda _: None)


async def read_body(
    receive: Receive, headers: Headers, *, bytes_max: int, timeout_s: float
) -> bytes:
    body = RequestBody(headers, receive, budget(), body_deadlines(), timeout_s)
    return await body.read(bytes_max, "k")


async def gone() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


async def read(
    chunks: Iterable[bytes], headers: Headers | None = None, bytes_max: int = BYTES_MAX
) -> bytes:
    return await read_body(Body(chunks).receive, headers or {}, bytes_max=bytes_max, timeout_s=5)


async def refusal(
    chunks: Iterable[bytes], headers: Headers | None = None, bytes_max: int = BYTES_MAX
) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await read(chunks, headers, bytes_max)
    return caught.value


def bare_deflate(content: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(content) + encoder.flush()


def encoded(encoding: bytes, content: bytes) -> bytes:
    if encoding == b"gzip":
        return gzip.compress(content)
    return zlib.compress(content) if encoding == b"deflate" else bare_deflate(content)


def header(encoding: bytes) -> Headers:
    return {b"content-encoding": b"deflate" if encoding == b"bare" else encoding}


ENCODINGS: Final = pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"bare"])


async def test_a_chunked_body_is_put_together() -> None:
    assert PLAIN == await read([PLAIN[:5], b"", PLAIN[5:]])


async def test_a_body_with_a_length_ends_at_its_last_byte() -> None:
    body = Body([PLAIN], is_whole=False)
    headers = {b"content-length": b"%d" % len(PLAIN)}

    got = await read_body(body.receive, headers, bytes_max=BYTES_MAX, timeout_s=5)

    assert got == PLAIN


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({b"content-length": b"42"}, 42), ({}, None), ({b"content-length": b"+1"}, None)],
)
def test_a_length_is_digits(headers: Headers, expected: int | None) -> None:
    assert expected == RequestBody(headers, gone, budget(), body_deadlines(), 5).length


async def test_a_missing_body_is_read_as_empty() -> None:
    assert b"" == await read([b""])
    assert b"" == await read([], {b"content-length": b"0"})


@pytest.mark.parametrize("encoding", [b"identity", b"", b" Identity "])
async def test_identity_leaves_the_body_unchanged(encoding: bytes) -> None:
    assert PLAIN == await read([PLAIN], {b"content-encoding": encoding})


@ENCODINGS
async def test_an_encoded_body_is_decoded_however_it_is_cut(encoding: bytes) -> None:
    body = encoded(encoding, PLAIN)

    assert PLAIN == await read([body], header(encoding))
    for cut in range(1, len(body)):
        assert PLAIN == await read([body[:cut], body[cut:]], header(encoding))
    assert PLAIN == await read([bytes([byte]) for byte in body], header(encoding))


async def test_the_name_of_an_encoding_is_case_insensitive() -> None:
    assert PLAIN == await read([gzip.compress(PLAIN)], {b"content-encoding": b" GZip"})
    assert PLAIN == await read([gzip.compress(PLAIN)], {b"content-encoding": b"x-gzip"})


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"\xff" * 200])
async def test_another_encoding_is_415_and_named(encoding: bytes) -> None:
    refused = await refusal([PLAIN], {b"content-encoding": encoding})

    assert Reason.UNSUPPORTED_ENCODING == refused.reason
    assert refused.details["actual"] == encoding.decode("latin-1")[:64]
    assert ("more than one" in refused.message) == (b"," in encoding)


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert NOISE == await read([NOISE[:600], NOISE[600:]])
    assert NOISE == await read([NOISE], {b"content-length": b"%d" % BYTES_MAX})
    for encoding in (b"gzip", b"deflate", b"bare"):
        body = encoded(encoding, b"a" * BYTES_MAX)
        assert b"a" * BYTES_MAX == await read([body], header(encoding))


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    body = Body([b"a" * (BYTES_MAX + 1)])

    with pytest.raises(RefusedError) as caught:
        await read_body(body.receive, {b"content-length": b"1001"}, bytes_max=1_000, timeout_s=5)

    assert Reason.PAYLOAD_TOO_LARGE == caught.value.reason
    assert {"limit": 1_000, "actual": 1_001} == caught.value.details
    assert 1 == len(body.left)


async def test_a_chunked_body_is_refused_as_soon_as_it_exceeds_the_limit() -> None:
    body = Body([b"a" * BYTES_MAX, b"a", b"never read"])

    with pytest.raises(RefusedError) as caught:
        await read_body(body.receive, {}, bytes_max=BYTES_MAX, timeout_s=5)

    assert Reason.PAYLOAD_TOO_LARGE == caught.value.reason
    assert {"limit": 1_000, "actual": "more than 1000"} == caught.value.details
    assert [b"never read"] == body.left


@ENCODINGS
async def test_the_limit_counts_decoded_bytes(encoding: bytes) -> None:
    refused = await refusal([encoded(encoding, b"a" * (BYTES_MAX + 1))], header(encoding))

    assert Reason.PAYLOAD_TOO_LARGE == refused.reason


@ENCODINGS
async def test_a_gzip_bomb_is_never_decoded_past_the_limit(encoding: bytes) -> None:
    bomb = encoded(encoding, bytes(16 * 1024 * 1024))
    tracemalloc.start()
    try:
        refused = await refusal([bomb], header(encoding), bytes_max=256 * 1024)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert Reason.PAYLOAD_TOO_LARGE == refused.reason
    assert peak_bytes < 2 * 1024 * 1024


async def test_encoded_bytes_that_decode_to_nothing_are_limited() -> None:
    # Empty stored blocks of deflate: five bytes each, which decode to nothing.
    nothing = b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * (BYTES_MAX // 5)

    refused = await refusal([nothing, b"\x03\x00\x00\x00\x00\x01"], header(b"deflate"))

    assert Reason.PAYLOAD_TOO_LARGE == refused.reason


@ENCODINGS
async def test_a_body_that_is_cut_off_is_refused(encoding: bytes) -> None:
    refused = await refusal([encoded(encoding, PLAIN)[:-1]], header(encoding))

    assert Reason.INVALID_ENCODING == refused.reason
    assert "cut off" in refused.message


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
async def test_an_empty_body_is_not_a_valid_encoded_body(encoding: bytes) -> None:
    refused = await refusal([b""], header(encoding))

    assert Reason.INVALID_ENCODING == refused.reason


@ENCODINGS
async def test_bytes_after_the_end_are_refused(encoding: bytes) -> None:
    body = encoded(encoding, PLAIN)

    in_one = await refusal([body + b"x"], header(encoding))
    in_two = await refusal([body, b"x"], header(encoding))

    assert [Reason.INVALID_ENCODING] * 2 == [in_one.reason, in_two.reason]
    assert "after its end" in in_one.message
    assert "after its end" in in_two.message


async def test_a_gzip_body_may_have_several_members_however_it_is_cut() -> None:
    body = gzip.compress(PLAIN[:9]) + gzip.compress(b"") + gzip.compress(PLAIN[9:])

    assert PLAIN == await read([body], header(b"gzip"))
    for cut in range(1, len(body)):
        assert PLAIN == await read([body[:cut], body[cut:]], header(b"gzip"))
    assert PLAIN == await read([bytes([byte]) for byte in body], header(b"gzip"))


async def test_the_limit_counts_all_members() -> None:
    member = gzip.compress(b"a" * (BYTES_MAX // 2))

    assert BYTES_MAX == len(await read([member * 2], header(b"gzip")))
    refused = await refusal([member * 2 + gzip.compress(b"a")], header(b"gzip"))
    assert Reason.PAYLOAD_TOO_LARGE == refused.reason


async def test_gzip_members_are_limited_by_their_encoded_bytes() -> None:
    nothing = gzip.compress(b"")

    assert b"" == await read([nothing * (BYTES_MAX // len(nothing))], header(b"gzip"))
    refused = await refusal([nothing * (BYTES_MAX // len(nothing) + 1)], header(b"gzip"))
    assert Reason.PAYLOAD_TOO_LARGE == refused.reason


async def test_the_number_of_gzip_members_is_limited() -> None:
    nothing = gzip.compress(b"")

    assert b"" == await read([nothing * 1_000], header(b"gzip"), bytes_max=100_000)
    refused = await refusal([nothing * 1_001], header(b"gzip"), bytes_max=100_000)
    assert Reason.INVALID_ENCODING == refused.reason
    assert "1000 gzip members" in refused.message


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        (bytes(4), "after its end"),
        (b"{}", "after its end"),
        (b"\x1f", "cut off"),
        (gzip.compress(b"x", mtime=0)[:-1], "cut off"),
        (b"\x1f\x8b\x09" + bytes(9), "compression method"),
    ],
)
async def test_bytes_after_a_gzip_member_must_be_a_whole_member(rest: bytes, fault: str) -> None:
    """RFC 1952 allows no bytes before, between or after members, not even padding."""
    refused = await refusal([gzip.compress(PLAIN) + rest], header(b"gzip"))

    assert Reason.INVALID_ENCODING == refused.reason
    assert fault in refused.message


async def test_a_deflate_body_is_one_stream() -> None:
    refused = await refusal([zlib.compress(b"{}") * 2], header(b"deflate"))

    assert Reason.INVALID_ENCODING == refused.reason


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
async def test_a_plain_body_with_a_content_encoding_is_refused(encoding: bytes) -> None:
    refused = await refusal([PLAIN], header(encoding))

    assert Reason.INVALID_ENCODING == refused.reason


async def test_a_wrong_checksum_is_refused() -> None:
    body = bytearray(gzip.compress(PLAIN))
    body[-5] ^= 1

    assert Reason.INVALID_ENCODING == (await refusal([bytes(body)], header(b"gzip"))).reason


async def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    body = Body([PLAIN], is_whole=False)

    with pytest.raises(RefusedError, match=r"within 0\.\d+ s") as caught:
        await read_body(body.receive, {}, bytes_max=BYTES_MAX, timeout_s=0.01)

    assert Reason.BODY_TIMEOUT == caught.value.reason


async def test_further_chunks_do_not_extend_the_deadline_of_a_body() -> None:
    """A body has one deadline, which a further chunk does not extend."""

    async def drip() -> MutableMapping[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    with pytest.raises(RefusedError) as caught:
        await read_body(drip, {}, bytes_max=BYTES_MAX, timeout_s=0.01)

    assert Reason.BODY_TIMEOUT == caught.value.reason


async def test_only_an_incomplete_body_is_counted_and_only_as_it_was_sent() -> None:
    bodies = budget()
    small = gzip.compress(b"a" * BYTES_MAX)
    counted: list[int] = []

    class Watched(Body):
        async def receive(self) -> MutableMapping[str, Any]:
            counted.append(bodies.held_bytes)
            return await super().receive()

    async def whole(*chunks: bytes) -> bytes:
        body = RequestBody(header(b"gzip"), Watched(chunks).receive, bodies, body_deadlines(), 5)
        return await body.read(BYTES_MAX, "k")

    assert b"a" * BYTES_MAX == await whole(small)
    assert [0] == counted
    assert b"a" * BYTES_MAX == await whole(small[:10], small[10:-1], small[-1:])
    assert len(small) < counted[-1] < len(small) + 200
    assert 0 == bodies.held_bytes


async def test_many_small_chunks_count_with_what_python_needs_for_them() -> None:
    bodies = budget()
    chunks = [b"ab"] * 100
    counted: list[int] = []

    class Watched(Body):
        async def receive(self) -> MutableMapping[str, Any]:
            counted.append(bodies.held_bytes)
            return await super().receive()

    body = RequestBody({}, Watched(chunks).receive, bodies, body_deadlines(), 5)

    assert b"ab" * 100 == await body.read(BYTES_MAX, "k")
    assert counted[-1] >= 99 * (sys.getsizeof(b"ab") + 8)


@pytest.mark.parametrize("end", ["refused", "late", "gone", "large", "cancelled"])
async def test_the_memory_of_a_body_is_given_back_however_its_reading_ends(end: str) -> None:
    bodies = budget(10_000)
    taken = bodies.held_bytes
    coming = Body([NOISE[:500], NOISE[500:]], is_whole=False)

    async def receive() -> MutableMapping[str, Any]:
        if end == "gone" and not coming.left:
            return await gone()
        return await coming.receive()

    bytes_max = 700 if end == "large" else BYTES_MAX
    if end == "refused":
        bodies.take("k", 4_300)
        taken = bodies.held_bytes
    body = RequestBody({}, receive, bodies, body_deadlines(), 0.01 if end == "late" else 5)
    reading = asyncio.ensure_future(body.read(bytes_max, "k"))
    if end == "cancelled":
        await asyncio.sleep(0.01)
        assert bodies.held_bytes > taken
        reading.cancel()

    with pytest.raises((RefusedError, ClientGoneError, asyncio.CancelledError)):
        await reading
    assert taken == bodies.held_bytes


async def test_a_body_that_waits_is_counted() -> None:
    bodies = budget(1_000)
    body = RequestBody({}, gone, bodies, body_deadlines(), 5)

    with body.held(400, "k"):
        assert 400 == bodies.held_bytes
        with pytest.raises(RefusedError), body.held(400, "k"):
            pass
        assert 400 == bodies.held_bytes
    assert 0 == bodies.held_bytes


async def test_a_sender_that_left_is_no_refusal() -> None:
    with pytest.raises(ClientGoneError):
        await read_body(gone, {}, bytes_max=BYTES_MAX, timeout_s=5)


@pytest.mark.parametrize(("key_id", "left"), [(None, 8), ("k", 0)])
async def test_the_rest_of_a_body_refused_for_memory_is_read_only_with_a_key(
    key_id: str | None, left: int
) -> None:
    # The limit of one key, and twice the limit of a body without a key, are 2,000 bytes.
    client = Body([b"x" * 1_000] * 10)
    headers = {b"transfer-encoding": b"chunked"}
    body = RequestBody(headers, client.receive, budget(4_000), body_deadlines(), 5)

    with pytest.raises(RefusedError):
        await body.read(100_000, key_id)
    await body.discard()

    assert len(client.left) == left
