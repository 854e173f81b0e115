"""
Names of tenants, workspaces and keys.

If these tests fail: an operator cannot use a valid name, or a name breaks the output of a terminal.
"""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import InvalidError
from provision.names import checked_name


@pytest.mark.parametrize("name", ["a", "Acme GmbH & Co", "x" * 100, "日本", "é", "--x", "a'b\"c"])
def test_a_readable_name_is_taken_as_it_is(name: str) -> None:
    assert name == checked_name("tenant", name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "'' is blank"),
        ("   ", "'   ' is blank"),
        ("\u3000", "is blank"),
        ("x" * 101, "has 101 characters"),
        ("a\nb", r"'a\nb' has a control character"),
        ("a\x00b", r"'a\x00b' has a control character"),
        ("a\x7f", "has a control character"),
        ("a\u2028b", "has a control character"),
        (" a", "begins or ends with a blank"),
        ("a\u00a0", "begins or ends with a blank"),
        ("a\udcff", "is not valid UTF-8"),
    ],
)
def test_a_refused_name_is_told_why_and_what_is_allowed(name: str, reason: str) -> None:
    with pytest.raises(InvalidError) as raised:
        checked_name("workspace", name)

    message = str(raised.value)
    assert message.startswith("invalid name for a workspace: ")
    assert reason in message
    assert "1 to 100 characters, no control characters" in message
    assert message.isprintable()


def test_a_huge_name_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidError) as raised:
        checked_name("tenant", "x" * 100_000)

    assert len(str(raised.value)) < 500


def test_every_blank_of_unicode_is_refused_at_an_end() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        if character.isspace():
            with pytest.raises(InvalidError):
                checked_name("tenant", f"a{character}")


@given(st.text(max_size=120))
def test_whatever_is_taken_prints_as_one_line_and_is_not_blank(name: str) -> None:
    try:
        taken = checked_name("tenant", name)
    except InvalidError:
        return

    assert [taken] == taken.splitlines()
    assert taken.strip() == taken
    assert 1 <= len(taken) <= 100
