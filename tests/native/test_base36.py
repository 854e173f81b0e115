import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import _native

UINT64 = st.integers(0, 2**64 - 1)


@given(UINT64)
def test_text_reads_back_here_and_in_python(value: int) -> None:
    text = _native.base36_encode(value)

    assert len(text) == 13
    assert value == _native.base36_decode(text)
    assert value == int(text, 36)


@given(UINT64, UINT64)
def test_text_sorts_as_the_numbers_do(left: int, right: int) -> None:
    assert (left < right) == (_native.base36_encode(left) < _native.base36_encode(right))


@pytest.mark.parametrize("value", [-1, 2**64, -(2**70), 2**70])
def test_numbers_beyond_64_bits_overflow(value: int) -> None:
    with pytest.raises(OverflowError):
        _native.base36_encode(value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "13 characters, this has 0"),
        ("0" * 14, "13 characters, this has 14"),
        ("A" * 13, "'A' at position 0"),
        ("000000-000000", "'-' at position 6"),
        ("٣000000000000", "at position 0"),
        ("3w5e11264sgsg", "beyond 64 bits"),
    ],
)
def test_text_that_is_no_number_is_refused_with_its_fault(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        _native.base36_decode(text)
