"""The key in the headers of a request: which header counts, and what it holds."""

import base64

import pytest

from service.edge.request import Headers, key_text


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"authorization": basic(b"key:")}, b"key"),
        ({b"authorization": basic(b"key:password")}, b"key"),
        ({b"authorization": basic(b"key")}, b"key"),
        ({b"authorization": b"bAsIc  " + base64.b64encode(b"key:")}, b"key"),
        ({b"authorization": b"Bearer key"}, b"key"),
        ({b"authorization": b" bearer   key "}, b"key"),
        ({b"x-api-key": b" key "}, b"key"),
        ({b"x-write-key": b"key"}, b"key"),
        ({b"x-api-key": b"first", b"x-write-key": b"second"}, b"first"),
        ({b"authorization": b"Bearer first", b"x-api-key": b"second"}, b"first"),
        ({b"x-api-key": b"", b"x-write-key": b"second"}, b""),
        ({}, None),
    ],
)
def test_a_key_is_read_from_the_first_header_that_may_hold_one(
    headers: Headers, expected: bytes | None
) -> None:
    assert expected == key_text(headers)


@pytest.mark.parametrize("value", [b"Basic", b"Basic ***", b"Basic a2V5O", b"Bearer", b"bearer "])
def test_an_authorization_of_ours_without_a_readable_key_is_a_bad_key(value: bytes) -> None:
    assert b"" == key_text({b"authorization": value, b"x-api-key": b"another"})


@pytest.mark.parametrize(
    "value", [b"", b" ", b"Negotiate abc", b"Digest username=key", b"key", b"Basically a2V5Og=="]
)
def test_an_authorization_of_another_scheme_hides_no_key(value: bytes) -> None:
    assert key_text({b"authorization": value}) is None
    assert b"key" == key_text({b"authorization": value, b"x-api-key": b"key"})
    assert b"key" == key_text({b"authorization": value, b"x-write-key": b"key"})
