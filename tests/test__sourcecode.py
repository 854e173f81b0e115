"""The house keeps its shape."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from service import _native, config
from service.reasons import CONFLICT_MESSAGES, FAULTS, Reason
from service.store.schema import SCHEMA_VERSION

ROOT: Final = Path(__file__).parents[1]
LINES_MAX: Final = 500
SOURCES: Final = {
    **dict.fromkeys(("service", "provision", "bench", "tests"), ("*.py", "*.pyi", "*.sql")),
    "native/src": ("*.rs",),
    "migrations": ("*.sql",),
}
BANNED_NAMES: Final = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
MIGRATIONS: Final = sorted(path.name for path in (ROOT / "migrations").glob("*.sql"))


def sources() -> Iterator[Path]:
    for folder, patterns in SOURCES.items():
        for pattern in patterns:
            yield from (ROOT / folder).rglob(pattern)


def statements(room: str) -> tuple[set[str], set[str]]:
    """Return the names of a room's statements: those in its .sql files, those its code asks for."""
    texts = [path.read_text() for path in (ROOT / room).rglob("*.sql")]
    named = [name for text in texts for name in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]
    assert len(named) == len(set(named))
    code = "\n".join(path.read_text() for path in (ROOT / room).rglob("*.py"))
    return set(named), set(re.findall(r'\bstatement\(\s*"(\w+)"', code))


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    too_long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > LINES_MAX
    }

    assert {} == too_long


def test_no_module_is_named_for_what_it_is_not() -> None:
    assert [] == [path for path in sources() if BANNED_NAMES & set(path.stem.split("_"))]


@pytest.mark.parametrize("room", ["service/store", "provision"])
def test_every_statement_is_there_and_is_used(room: str) -> None:
    named, asked_for = statements(room)

    assert named == asked_for


def test_sql_stands_in_sql_files() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "service").rglob("*.py")
        if re.search(r'"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER) ', path.read_text())
    ]

    assert [] == found


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [name.partition("_")[0] for name in MIGRATIONS]

    assert [f"{number:04}" for number in range(1, len(MIGRATIONS) + 1)] == numbers
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name) for name in MIGRATIONS)


def test_the_service_needs_the_newest_migration() -> None:
    assert SCHEMA_VERSION == MIGRATIONS[-1].partition("_")[0]


def test_the_example_of_the_settings_is_what_the_code_says() -> None:
    assert config.example() == (ROOT / ".env.example").read_text()


def test_every_reason_has_its_answer() -> None:
    codes = {Reason(code) for code in _native.violation_codes()}
    of_one_event = {Reason.INVALID_TIMESTAMP, Reason.INVALID_EVENT, Reason.STORE_REFUSED}

    assert set(Reason) == set(FAULTS) | set(CONFLICT_MESSAGES) | codes | of_one_event


def test_nothing_in_the_service_needs_its_test_twins() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "service").rglob("*.py")
        if "service.testing" in path.read_text()
    ]

    assert [] == users


def test_no_work_is_left_in_a_comment() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")

    assert [] == [path for path in sources() if marks.search(path.read_text())]
