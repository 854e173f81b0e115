"""
The API key of a request: in its headers, or in its URL where an SDK sends it there.

If these tests fail: valid requests get 401, or events are stored for another key than the sender
meant.
"""

import base64

import pytest

from service.edge.key_text import key_of_query, key_of_request, key_of_settings_path
from service.edge.request import Headers
from service.reasons import Reason, RefusedError


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
        ({b"authorization": b"Bearer key:x"}, b"key"),
        ({b"x-api-key": b" key "}, b"key"),
        ({b"x-api-key": b"key:"}, b"key"),
        ({b"x-write-key": b"key"}, b"key"),
        ({b"x-write-key": b"key:secret:more"}, b"key"),
        ({b"x-api-key": b"first", b"x-write-key": b"second"}, b"first"),
        ({b"authorization": b"Bearer first", b"x-api-key": b"second"}, b"first"),
        ({}, None),
    ],
)
def test_a_key_is_read_from_the_first_header_that_has_one(
    headers: Headers, expected: bytes | None
) -> None:
    assert expected == key_of_request(headers)


@pytest.mark.parametrize("value", [b"Basic ***", b"Basic a2V5O", b"Basic fb1_key"])
def test_basic_that_cannot_be_decoded_is_an_invalid_key(value: bytes) -> None:
    assert b"" == key_of_request({b"authorization": value, b"x-api-key": b"another"})


@pytest.mark.parametrize(
    "value", [b"", b" ", b"Basic", b"Basic Og==", b"Bearer", b"bearer  ", b":"]
)
def test_an_authorization_without_a_key_is_ignored(value: bytes) -> None:
    assert key_of_request({b"authorization": value}) is None
    assert b"key" == key_of_request({b"authorization": value, b"x-api-key": b"key"})
    assert b"key" == key_of_request({b"authorization": value, b"x-write-key": b"key:x"})


def test_another_header_without_a_key_is_ignored_too() -> None:
    assert key_of_request({b"x-api-key": b" ", b"x-write-key": b":x"}) is None
    assert b"second" == key_of_request({b"x-api-key": b"", b"x-write-key": b"second"})


@pytest.mark.parametrize(
    "value", [b"Negotiate abc", b"Digest username=key", b"key", b"Basically a2V5Og=="]
)
def test_a_key_beside_an_authorization_of_another_scheme_is_read(value: bytes) -> None:
    assert key_of_request({b"authorization": value}) is None
    assert b"key" == key_of_request({b"authorization": value, b"x-api-key": b"key"})
    assert b"key" == key_of_request({b"authorization": value, b"x-write-key": b"key"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", None),
        (b"a=b", None),
        (b"writeKey=", None),
        (b"writekey=key&WriteKey=key&xwriteKey=key", None),
        (b"writeKey=key", b"key"),
        (b"a=b&writeKey=key&c", b"key"),
        (b"writeKey=%6bey%3Asecret", b"key"),
        (b"writeKey=key&writeKey=key", b"key"),
        (b"writeKey=\xff%", b"\xff%"),
    ],
)
def test_a_key_is_read_from_a_query(query: bytes, expected: bytes | None) -> None:
    assert expected == key_of_query(query)


def test_two_keys_in_a_query_are_refused_and_not_repeated() -> None:
    with pytest.raises(RefusedError) as caught:
        key_of_query(b"writeKey=first&writeKey=second")

    assert Reason.INVALID_REQUEST == caught.value.reason
    assert "first" not in caught.value.message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/projects/key/settings", b"key"),
        ("/v1/projects/key:x/settings/", b"key"),
        ("/v1/projects/\ud800\u00e9/settings", "\ud800\u00e9".encode("utf-8", "surrogatepass")),
        ("/v1/projects//settings", b""),
        ("/v1/projects/a/b/settings", b""),
        ("/v1/projects/key/settings\n", b""),
    ],
)
def test_a_key_is_read_from_the_path_of_settings(path: str, expected: bytes) -> None:
    assert expected == key_of_settings_path(path)
