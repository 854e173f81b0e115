import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import _native

EPOCH_MS = 1_704_067_200_000
END_MS = EPOCH_MS + 2**41
NOW_MS = 1_790_000_000_000


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

        assert (signed, _native.base36_encode(mixed)) == ids.take()


def test_a_row_id_tells_its_millisecond_worker_and_counter() -> None:
    taken = _native.RowIds(1023).take(NOW_MS, 2)

    assert [_native.row_id_parts(id_) for id_ in taken] == [(NOW_MS, 1023, 0), (NOW_MS, 1023, 1)]
    assert [((NOW_MS - EPOCH_MS) << 22) | (1023 << 12) | counter for counter in (0, 1)] == taken


def test_the_epoch_is_the_start_of_2024() -> None:
    assert EPOCH_MS == _native.ROW_ID_EPOCH_MS
    assert _native.RowIds(0).take(EPOCH_MS, 1) == [0]


@given(st.lists(st.tuples(st.integers(-5_000, 5_000), st.integers(0, 9_000)), max_size=8))
def test_ids_rise_strictly_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    ids = _native.RowIds(7)
    taken = [id_ for step, count in steps for id_ in ids.take(NOW_MS + step, count)]

    assert sorted(set(taken)) == taken
    assert all(_native.row_id_parts(id_)[1] == 7 for id_ in taken)


def test_a_clock_that_steps_back_keeps_the_last_millisecond() -> None:
    ids = _native.RowIds(7)
    ids.take(NOW_MS, 1)

    assert [_native.row_id_parts(id_) for id_ in ids.take(NOW_MS - 60_000, 1)] == [(NOW_MS, 7, 1)]


def test_a_full_counter_borrows_the_next_millisecond() -> None:
    taken = _native.RowIds(7).take(NOW_MS, 4097)

    assert _native.row_id_parts(taken[-1]) == (NOW_MS + 1, 7, 0)


def test_the_last_id_fits_a_bigint_and_none_follows() -> None:
    ids = _native.RowIds(1023)

    assert ids.take(END_MS - 1, 4096)[-1] == 2**63 - 1
    with pytest.raises(OverflowError, match="2093"):
        ids.take(END_MS - 1, 1)
    with pytest.raises(OverflowError, match="2093"):
        _native.RowIds(0).take(END_MS, 0)


@pytest.mark.parametrize("worker", [-1, 1024])
def test_a_worker_beyond_its_10_bits_is_refused(worker: int) -> None:
    with pytest.raises(ValueError, match=f"0 to 1023, this is {worker}"):
        _native.RowIds(worker)


@pytest.mark.parametrize(
    ("now_ms", "count"), [(EPOCH_MS - 1, 1), (-(2**63), 1), (NOW_MS, -1), (NOW_MS, 2**20 + 1)]
)
def test_a_time_or_a_count_that_cannot_be_is_refused(now_ms: int, count: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        _native.RowIds(0).take(now_ms, count)


def test_a_negative_number_is_no_row_id() -> None:
    with pytest.raises(ValueError, match="never negative"):
        _native.row_id_parts(-1)
