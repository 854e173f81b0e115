"""
The audit of the Python packages: what is read from the reports of pip-audit.

If these tests fail: a known vulnerability of a package is not reported, or packages that nobody
checked look clean.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.audit.outcome import Status
from tests.audit.program import Output
from tests.audit.python_packages import audit_packages, read_report

CLEAN: Final = {"name": "attrs", "version": "26.1.0", "vulns": []}
BAD: Final = {
    "name": "rich",
    "version": "15.0.0",
    "vulns": [
        {"id": "PYSEC-2026-1", "fix_versions": ["15.0.1"], "aliases": [], "description": "bad"},
        {"id": "PYSEC-2026-2", "fix_versions": [], "aliases": [], "description": "worse"},
    ],
}
SKIPPED: Final = {"name": "uv", "skip_reason": "Dependency not found and could not be audited"}


def report(*dependencies: dict[str, Any]) -> Output:
    return Output(json.dumps({"dependencies": dependencies, "fixes": []}).encode(), b"")


def test_packages_without_vulnerabilities_are_clean() -> None:
    assert Status.CLEAN == read_report("run.txt", "osv", report(CLEAN)).status


def test_each_vulnerability_is_named_with_the_version_that_repairs_it() -> None:
    outcome = read_report("run.txt", "osv", report(CLEAN, BAD))

    assert Status.FOUND == outcome.status
    assert (
        "run.txt: rich 15.0.0 has PYSEC-2026-1; fixed in 15.0.1\n"
        "run.txt: rich 15.0.0 has PYSEC-2026-2; fixed in no version"
    ) == str(outcome)


def test_a_package_that_could_not_be_checked_is_not_clean() -> None:
    outcome = read_report("run.txt", "pypi", report(CLEAN, SKIPPED))

    assert Status.NO_DATA == outcome.status
    assert "NOT CHECKED, the data could not be had: pypi: 1 of 2 packages" in str(outcome)
    assert Status.FOUND == read_report("run.txt", "pypi", report(BAD, SKIPPED)).status


@pytest.mark.parametrize("output", [b"", b"no JSON", b"{}", b'{"dependencies": []}'])
def test_no_report_and_an_empty_report_are_not_clean(output: bytes) -> None:
    failed = Output(output, b"Traceback\nConnectionError: no such host\n")

    assert Status.NO_DATA == read_report("run.txt", "osv", failed).status


def test_a_program_that_cannot_be_run_is_not_clean(tmp_path: Path) -> None:
    outcome = audit_packages(tmp_path / "pip-audit", tmp_path / "run.txt")

    assert Status.NO_DATA == outcome.status
    assert "No such file or directory" in outcome.missing


def test_the_next_service_is_asked_when_one_has_no_data(tmp_path: Path) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!/bin/sh\n[ $2 = pypi ] || exit 1\necho '{report(CLEAN).output.decode()}'\n"
    )
    program.chmod(0o755)

    assert Status.CLEAN == audit_packages(program, tmp_path / "run.txt").status
