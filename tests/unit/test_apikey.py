"""
The text form of an API key.

If these tests fail: valid keys are refused, or mistyped ones cause look-ups in the database.
"""

import hashlib
import zlib

import pytest

from service.apikey import mint, parse

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def with_check(body: str) -> str:
    """Return *body* with the check characters that belong to it."""
    crc, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        digits = ALPHABET[digit] + digits
    return body + digits


def test_a_minted_key_parses_to_its_id_and_digest() -> None:
    minted = mint()
    prefix, key_id, secret = minted.text.split("_")

    assert ("fb1", 12, 38) == (prefix, len(key_id), len(secret))
    assert minted.credential == parse(minted.text)
    assert (key_id, hashlib.sha256(minted.text.encode()).digest()) == minted.credential


def test_no_two_minted_keys_are_alike() -> None:
    assert len({mint().text for _ in range(100)}) == 100


def test_every_mistyped_character_is_detected() -> None:
    text = mint().text
    for place, character in enumerate(text):
        other = "a" if character != "a" else "b"
        assert parse(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fb1_",
        with_check("fb2_abcdefghijkl_" + "a" * 32),
        with_check("fb1_abcdefghijkl_" + "a" * 31),
        with_check("fb1_abcdefghijkl_" + "a" * 33),
        with_check("fb1-abcdefghijkl-" + "a" * 32),
        with_check("fb1_abcdefghijkla" + "a" * 32),
    ],
)
def test_a_text_of_another_form_is_not_a_key(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("character", ["\0", "_", " ", "\n", "-", "\x7f"])
def test_a_key_with_other_characters_is_refused_even_if_its_check_matches(character: str) -> None:
    # PostgreSQL refuses a text with NUL: the look-up would fail, and the answer be 503.
    assert parse(with_check(f"fb1_abcdefghijk{character}_" + "a" * 32)) is None
    assert parse(with_check("fb1_abcdefghijkl_" + "a" * 31 + character)) is None


def test_a_key_is_ascii() -> None:
    assert parse("fb1_abcdefghijkl_" + "\u00e9" * 38) is None
    assert parse("fb1_abcdefghijkl_" + "\u0661" * 38) is None
