"""
Request ids, row ids and generated event ids.

If these tests fail: two requests or events get the same id, or a sender can guess the ids of
another sender.
"""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import _native
from service.clock import moment
from service.pipeline.check import Arrival
from tests import reference

NOW_US = 1_790_000_000_000_000
SECRET = bytes(range(32))
MINTED = 10_000


@given(st.integers(0, 2**64 - 1))
def test_request_ids_are_splitmix64_as_a_bigint_and_as_text(seed: int) -> None:
    ids = _native.RequestIds(seed)
    state = seed
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
        signed = mixed - 2**64 if mixed >= 2**63 else mixed
        digits = (mixed // 36**exponent % 36 for exponent in reversed(range(13)))
        text = "".join("0123456789abcdefghijklmnopqrstuvwxyz"[digit] for digit in digits)

        assert (signed, text) == ids.take()


def rows(ids: _native.RowIds, count: int = 1, received_at_us: int = NOW_US) -> _native.Rows:
    """Return the rows of *count* events without an id."""
    body = json.dumps({"batch": [{"type": "page"}] * count}).encode()
    scanned = _native.scan_batch(body, count)
    assert isinstance(scanned, _native.Scan)
    made, refused = scanned.rows(ids, Arrival(1, 1, "key", 1, "1.0", received_at_us), 0)
    assert not refused
    return made


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 50), max_size=4))
def test_row_ids_count_from_their_start_through_all_63_bits(start: int, counts: list[int]) -> None:
    ids = _native.RowIds(start, SECRET)

    taken = [row_id for count in counts for row_id in rows(ids, count).ids]

    assert [(start + place) % 2**63 for place in range(sum(counts))] == taken


@pytest.mark.parametrize("start", [2**63 - 2, 2**64 - 2])
def test_after_the_last_row_id_comes_0_within_one_request(start: int) -> None:
    assert [2**63 - 2, 2**63 - 1, 0, 1] == rows(_native.RowIds(start, SECRET), 4).ids


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1), st.integers(0, 2**52))
def test_a_generated_id_is_sha_256_of_secret_row_id_and_arrival(
    secret: bytes, row_id: int, received_at_us: int
) -> None:
    arrival = reference.Arrival(1, 1, 1, moment(received_at_us), "1.0", row_id, secret)

    (event_id,) = rows(_native.RowIds(row_id, secret), received_at_us=received_at_us).event_ids

    assert reference.minted(arrival, row_id) == event_id


def test_generated_ids_use_every_digit_equally_often_at_every_position() -> None:
    """A generated id has 103 random bits, so no position is fixed or prefers a digit."""
    made = rows(_native.RowIds(0, SECRET), MINTED).event_ids

    assert MINTED == len(set(made))
    assert {20} == {len(event_id) for event_id in made}
    for digits in zip(*made, strict=True):
        counts = Counter(digits)
        assert 36 == len(counts)
        assert max(counts.values()) < 2 * MINTED / 36


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_secret_of_another_length_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="32"):
        _native.RowIds(0, secret)


@pytest.mark.parametrize("start", [-1, 2**64])
def test_a_start_beyond_64_bits_is_refused(start: int) -> None:
    with pytest.raises(OverflowError):
        _native.RowIds(start, SECRET)
