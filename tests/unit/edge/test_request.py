"""
Request headers: the rejection of ambiguous ones.

If these tests fail: a proxy and the service read different requests, or valid requests get 400.
"""

import pytest

from service.edge.request import Headers, content_length, reject_ambiguous_headers
from service.reasons import Reason, RefusedError


def read_headers(pairs: list[tuple[bytes, bytes]]) -> Headers:
    headers = dict(pairs)
    reject_ambiguous_headers(headers, pairs, content_length(headers))
    return headers


def test_the_last_of_repeated_headers_is_used() -> None:
    assert {b"accept": b"b"} == read_headers([(b"accept", b"a"), (b"accept", b"b")])


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "content-encoding",
        "content-length",
        "transfer-encoding",
        "x-api-key",
        "x-event-schema-version",
        "x-write-key",
    ],
)
def test_a_duplicate_of_each_unique_header_is_refused(name: str) -> None:
    pairs = [(name.encode(), b"1"), (name.encode(), b"1")]

    with pytest.raises(RefusedError, match=f"Duplicate header: {name}") as caught:
        read_headers(pairs)

    assert (Reason.INVALID_REQUEST, name) == (caught.value.reason, caught.value.details["field"])


def test_a_content_length_beside_chunked_is_refused() -> None:
    with pytest.raises(RefusedError) as caught:
        read_headers([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")])

    assert Reason.INVALID_REQUEST == caught.value.reason


@pytest.mark.parametrize(
    "value",
    [b"9" * 20, b"0" * 4_300, b"0" * 5_000 + b"1", b"9" * 100_000, b"", b"-1", b"+1", b"1, 1"],
)
def test_a_length_that_is_not_a_plain_number_is_refused(value: bytes) -> None:
    headers = {b"content-length": value}

    assert content_length(headers) is None
    with pytest.raises(RefusedError, match="19 digits") as caught:
        reject_ambiguous_headers(headers, list(headers.items()), None)
    assert Reason.INVALID_REQUEST == caught.value.reason
    assert "content-length" == caught.value.details["field"]


@pytest.mark.parametrize(("value", "expected"), [(b"0", 0), (b"0042", 42), (b"9" * 19, 10**19 - 1)])
def test_a_length_is_read(value: bytes, expected: int) -> None:
    assert expected == content_length(read_headers([(b"content-length", value)]))


@pytest.mark.parametrize(
    "coding", [b"chunked, chunked", b"gzip, chunked", b"identity", b"", b"x" * 999]
)
def test_a_transfer_coding_other_than_chunked_is_refused(coding: bytes) -> None:
    with pytest.raises(RefusedError, match="send chunked") as caught:
        read_headers([(b"transfer-encoding", coding)])

    assert (Reason.INVALID_REQUEST, "transfer-encoding") == (
        caught.value.reason,
        caught.value.details["field"],
    )
    assert len(caught.value.message) < 150


@pytest.mark.parametrize("coding", [b"chunked", b" Chunked "])
def test_chunked_transfer_coding_is_accepted(coding: bytes) -> None:
    assert content_length(read_headers([(b"transfer-encoding", coding)])) is None
