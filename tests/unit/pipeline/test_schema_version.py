"""
The header X-Event-Schema-Version: its form, and the supported versions.

If these tests fail: senders cannot use a valid version, or events are stored with an invalid one.
"""

import pytest

from service.pipeline.ingest import checked_schema_version
from service.reasons import Reason, RefusedError

ALL: frozenset[str] = frozenset()


@pytest.mark.parametrize("text", ["1.0", "0.0", "2.10.3", "99999.99999.99999", " 1.2 "])
def test_a_version_is_two_or_three_numbers(text: str) -> None:
    header = text.encode()

    assert text.strip() == checked_schema_version(header, ALL)


@pytest.mark.parametrize(
    "text", ["", "1", "1.", "v1.0", "1.0.0.0", "1.0-rc1", "100000.1", "\uff11.\uff10"]
)
def test_another_form_is_refused_and_quoted(text: str) -> None:
    header = text.encode()

    with pytest.raises(RefusedError) as caught:
        checked_schema_version(header, ALL)

    assert Reason.INVALID_SCHEMA_VERSION == caught.value.reason
    assert "X-Event-Schema-Version" == caught.value.details["field"]


def test_a_version_that_is_not_supported_is_refused_with_those_that_are() -> None:
    header = b"3.0"

    with pytest.raises(RefusedError, match=r"1\.0, 2\.0 are"):
        checked_schema_version(header, frozenset({"2.0", "1.0"}))


def test_a_long_version_is_quoted_in_part() -> None:
    header = b"9" * 10_000

    with pytest.raises(RefusedError) as caught:
        checked_schema_version(header, ALL)

    assert "9" * 64 == caught.value.details["actual"]
    assert len(caught.value.message) < 200
