"""Known vulnerabilities of the Python packages in the hash-pinned files, by pip-audit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tests.audit.outcome import Outcome
from tests.audit.program import Output, output_of

# Where pip-audit can get advisories, in the order in which they are asked.
_SERVICES: Final = ("osv", "pypi")
_OPTIONS: Final = ("--format", "json", "--progress-spinner", "off", "--timeout", "15")


class _Vulnerability(msgspec.Struct, frozen=True):
    id: str
    fix_versions: tuple[str, ...] = ()


class _Dependency(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    skip_reason: str = ""
    vulns: tuple[_Vulnerability, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    dependencies: tuple[_Dependency, ...]


def audit_packages(pip_audit: Path, requirements: Path) -> Outcome:
    """Ask each service in turn until one has data about all packages of *requirements*."""
    check = f"Python packages of {requirements.name}"
    # Everything is pinned by hash, so no package is downloaded.
    pinned = ("--require-hashes", "--disable-pip", "--requirement", str(requirements))
    outcome = Outcome(check)
    for service in _SERVICES:
        written = output_of(pip_audit, ("--vulnerability-service", service, *_OPTIONS, *pinned))
        outcome = read_report(check, service, written)
        if outcome.findings or not outcome.missing:
            return outcome
    return outcome


def read_report(check: str, service: str, written: Output) -> Outcome:
    """
    Return what pip-audit reports.

    Its own exit status and message are not enough: packages that it could not check it calls
    skipped, and ends with "No known vulnerabilities found".
    """
    try:
        report = msgspec.json.decode(written.output, type=_Report)
    except msgspec.DecodeError:
        lines = written.errors.decode(errors="replace").strip().splitlines() or ["no output"]
        return Outcome(check, missing=f"{service}: {lines[-1]}")
    skipped = [dependency for dependency in report.dependencies if dependency.skip_reason]
    missing = ""
    if skipped or not report.dependencies:
        reason = skipped[0].skip_reason if skipped else "no package was read"
        missing = f"{service}: {len(skipped)} of {len(report.dependencies)} packages ({reason})"
    return Outcome(check, tuple(_findings(report)), missing)


def _findings(report: _Report) -> Iterator[str]:
    for dependency in report.dependencies:
        for found in dependency.vulns:
            fixed = ", ".join(found.fix_versions) or "no version"
            yield f"{dependency.name} {dependency.version} has {found.id}; fixed in {fixed}"
