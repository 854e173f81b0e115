"""
The audit of the Rust crates: what is read from the reports of cargo-deny.

If these tests fail: a known vulnerability or a licence that is not allowed is not reported, or
crates that nobody checked look clean.
"""

import json
from pathlib import Path
from typing import Any, Final

from tests.audit.outcome import Outcome, Status, status_of
from tests.audit.program import Output
from tests.audit.rust_crates import audit_crates, read_diagnostics

VULNERABLE: Final = {
    "type": "diagnostic",
    "fields": {
        "severity": "error",
        "code": "vulnerability",
        "message": "An advisory for a test",
        "advisory": {"id": "RUSTSEC-2026-9999"},
        "graphs": [{"Krate": {"name": "xxhash-rust", "version": "0.8.19"}}],
    },
}
ALLOWED: Final = {
    "type": "diagnostic",
    "fields": {"severity": "help", "code": "accepted", "message": "license requirements satisfied"},
}
NO_DATABASE: Final = {
    "type": "log",
    "fields": {"level": "ERROR", "message": "failed to fetch advisory database\nfatal: no host\n"},
}


def summary(*parts: str) -> dict[str, Any]:
    return {"type": "summary", "fields": {part: {"errors": 0} for part in parts}}


def read(*lines: dict[str, Any]) -> Outcome:
    errors = "\n".join(json.dumps(line) for line in lines).encode()
    return read_diagnostics("crates", ("advisories",), Output(b"", errors))


def test_crates_without_errors_are_clean() -> None:
    assert Status.CLEAN == read(ALLOWED, summary("advisories")).status


def test_each_error_is_named_with_its_crate_and_advisory() -> None:
    outcome = read(VULNERABLE, ALLOWED, summary("advisories"))

    assert Status.FOUND == outcome.status
    assert "crates: xxhash-rust 0.8.19: RUSTSEC-2026-9999 An advisory for a test" == str(outcome)


def test_without_the_database_the_crates_are_not_clean() -> None:
    outcome = read(NO_DATABASE)

    assert Status.NO_DATA == outcome.status
    assert "failed to fetch advisory database (fatal: no host)" in str(outcome)
    assert Status.NO_DATA == read(summary("licenses")).status


def test_a_program_that_cannot_be_run_is_not_clean(tmp_path: Path) -> None:
    outcomes = list(audit_crates(tmp_path / "cargo-deny"))

    assert [Status.NO_DATA] * 4 == [outcome.status for outcome in outcomes]
    assert "No such file or directory" in outcomes[0].missing


def test_a_finding_counts_more_than_missing_data() -> None:
    clean, missing = Outcome("a"), Outcome("b", missing="no data")
    found = Outcome("c", findings=("bad",))

    assert Status.CLEAN == status_of([clean])
    assert Status.NO_DATA == status_of([clean, missing])
    assert Status.FOUND == status_of([clean, missing, found])
    assert (0, 1, 3) == (Status.CLEAN, Status.FOUND, Status.NO_DATA)
