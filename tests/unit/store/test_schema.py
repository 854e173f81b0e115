"""
Versions of the schema and of PostgreSQL that the service accepts.

If these tests fail: the service starts on a database where it loses or rejects events, or refuses
a database that fits, such as in a rolling upgrade.
"""

import pytest

from service.store.schema import SCHEMA_VERSION, SchemaError, require_schema, unfit_server

OLDER = f"{int(SCHEMA_VERSION) - 1:04}"
NEWER = f"{int(SCHEMA_VERSION) + 1:04}"


@pytest.mark.parametrize(
    ("version", "breaking"),
    [
        (SCHEMA_VERSION, None),
        (SCHEMA_VERSION, SCHEMA_VERSION),
        (NEWER, None),
        (NEWER, OLDER),
        ("9999", SCHEMA_VERSION),
    ],
)
def test_its_own_schema_and_newer_compatible_schemas_are_accepted(
    version: str, breaking: str | None
) -> None:
    require_schema(version, breaking)


@pytest.mark.parametrize("version", [None, "0001", OLDER])
def test_an_older_schema_is_refused(version: str | None) -> None:
    with pytest.raises(SchemaError, match=f"needs {SCHEMA_VERSION}: run provision migrate"):
        require_schema(version, None)


def test_a_newer_breaking_schema_needs_a_newer_service() -> None:
    with pytest.raises(SchemaError, match=f"its version {NEWER} does not fit"):
        require_schema("9999", NEWER)


@pytest.mark.parametrize("version_num", [150_000, 150_012, 180_001])
def test_a_utf_8_database_of_postgresql_15_or_later_is_accepted(version_num: int) -> None:
    assert unfit_server(version_num, "UTF8") is None


@pytest.mark.parametrize(("version_num", "major"), [(140_019, 14), (130_002, 13), (90_624, 9)])
def test_an_older_server_is_refused_whatever_the_encoding(version_num: int, major: int) -> None:
    problem = unfit_server(version_num, "LATIN1") or ""

    assert problem.startswith(f"the server is PostgreSQL {major}, and Forebay needs 15 or later")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_refused(encoding: str) -> None:
    problem = unfit_server(180_001, encoding) or ""

    assert problem.startswith(f"the database has the encoding {encoding}, and Forebay needs UTF8")
