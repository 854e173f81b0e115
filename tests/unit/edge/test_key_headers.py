"""The key in the headers of a request: which header counts, and what it holds."""

import base64

import pytest

from service.edge.key_headers import key_header, key_text
from service.edge.request import Headers


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


def key_in(headers: Headers) -> str | None:
    header = key_header(headers)
    return None if header is None else key_text(*header)


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
        ({b"x-api-key": b"", b"x-write-key": b"second"}, ""),
        ({}, None),
    ],
)
def test_a_key_is_read_from_the_first_header_that_may_hold_one(
    headers: Headers, expected: str | None
) -> None:
    assert expected == key_in(headers)


@pytest.mark.parametrize("value", [b"Basic", b"Basic ***", b"Basic a2V5O", b"Bearer", b"bearer "])
def test_an_authorization_of_ours_without_a_readable_key_is_a_bad_key(value: bytes) -> None:
    assert "" == key_in({b"authorization": value, b"x-api-key": b"another"})


@pytest.mark.parametrize(
    "value", [b"", b" ", b"Negotiate abc", b"Digest username=key", b"key", b"Basically a2V5Og=="]
)
def test_an_authorization_of_another_scheme_hides_no_key(value: bytes) -> None:
    assert key_in({b"authorization": value}) is None
    assert "key" == key_in({b"authorization": value, b"x-api-key": b"key"})
    assert "key" == key_in({b"authorization": value, b"x-write-key": b"key"})
