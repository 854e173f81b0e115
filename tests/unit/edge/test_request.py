"""Headers by name, and what two of them may not say."""

import pytest

from service.edge.request import Headers, require_one_meaning, schema_version
from service.reasons import Reason, Refusal

ALL: frozenset[str] = frozenset()


def read_headers(pairs: list[tuple[bytes, bytes]]) -> Headers:
    headers = dict(pairs)
    require_one_meaning(headers, pairs)
    return headers


def test_of_a_repeated_header_the_last_counts() -> None:
    assert {b"accept": b"b"} == read_headers([(b"accept", b"a"), (b"accept", b"b")])


@pytest.mark.parametrize("name", ["authorization", "content-length", "x-api-key", "x-write-key"])
def test_a_header_that_decides_who_or_how_much_may_stand_only_once(name: str) -> None:
    pairs = [(name.encode(), b"1"), (name.encode(), b"1")]

    with pytest.raises(Refusal, match=name) as caught:
        read_headers(pairs)

    assert (Reason.INVALID_REQUEST, name) == (caught.value.reason, caught.value.details["field"])


def test_a_body_has_one_length() -> None:
    with pytest.raises(Refusal) as caught:
        read_headers([(b"content-length", b"1"), (b"transfer-encoding", b"chunked")])

    assert Reason.INVALID_REQUEST == caught.value.reason


def test_without_the_header_the_default_version_counts() -> None:
    assert "1.0" == schema_version({}, "1.0", frozenset({"2.0"}))


@pytest.mark.parametrize("text", ["1.0", "0.0", "2.10.3", "99999.99999.99999", " 1.2 "])
def test_a_version_is_two_or_three_numbers(text: str) -> None:
    headers = {b"x-event-schema-version": text.encode()}

    assert text.strip() == schema_version(headers, "1.0", ALL)


@pytest.mark.parametrize(
    "text", ["", "1", "1.", "v1.0", "1.0.0.0", "1.0-rc1", "100000.1", "\uff11.\uff10"]
)
def test_another_form_is_refused_and_quoted(text: str) -> None:
    headers = {b"x-event-schema-version": text.encode()}

    with pytest.raises(Refusal) as caught:
        schema_version(headers, "1.0", ALL)

    assert Reason.INVALID_SCHEMA_VERSION == caught.value.reason
    assert "X-Event-Schema-Version" == caught.value.details["field"]


def test_a_version_that_is_not_supported_is_refused_with_those_that_are() -> None:
    headers = {b"x-event-schema-version": b"3.0"}

    with pytest.raises(Refusal, match=r"1\.0, 2\.0 are"):
        schema_version(headers, "1.0", frozenset({"2.0", "1.0"}))


def test_a_long_version_is_quoted_in_part() -> None:
    headers = {b"x-event-schema-version": b"9" * 10_000}

    with pytest.raises(Refusal) as caught:
        schema_version(headers, "1.0", ALL)

    assert "9" * 64 == caught.value.details["actual"]
    assert len(caught.value.message) < 200
