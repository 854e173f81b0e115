"""Which schemas this service can work with."""

import pytest

from service.store.health import SCHEMA_VERSION, SchemaError, require_schema

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
def test_its_own_schema_and_newer_compatible_ones_will_do(
    version: str, breaking: str | None
) -> None:
    require_schema(version, breaking)


@pytest.mark.parametrize("version", [None, "0001", OLDER])
def test_an_older_schema_has_to_be_migrated(version: str | None) -> None:
    with pytest.raises(SchemaError, match=f"needs {SCHEMA_VERSION}: run provision migrate"):
        require_schema(version, None)


def test_a_newer_breaking_schema_needs_a_newer_service() -> None:
    with pytest.raises(SchemaError, match=f"its version {NEWER} does not fit"):
        require_schema("9999", NEWER)
