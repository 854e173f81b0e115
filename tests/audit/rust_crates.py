"""Known vulnerabilities, licences and sources of Rust crates, by cargo-deny."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.audit.outcome import Outcome
from tests.audit.program import Output, output_of

# Advisories come from a database on the network; the rest needs only the crates themselves.
_CHECKS: Final = {
    "Rust crates": ("advisories",),
    "licences and sources of Rust crates": ("bans", "licenses", "sources"),
}


# Of the core, and of the programs that fuzz it.
_MANIFESTS: Final = ("Cargo.toml", "native/fuzz/Cargo.toml")


def audit_crates(cargo_deny: Path) -> Iterator[Outcome]:
    """Run the checks of deny.toml on the crates of both lock files."""
    for manifest in _MANIFESTS:
        options = ("--locked", "--format", "json", "--config", "deny.toml")
        for check, parts in _CHECKS.items():
            arguments = (*options, "--manifest-path", manifest, "check", *parts)
            written = output_of(cargo_deny, arguments)
            yield read_diagnostics(f"{check} of {manifest}", parts, written)


def read_diagnostics(check: str, parts: tuple[str, ...], written: Output) -> Outcome:
    """
    Return what cargo-deny reports, one JSON object per line.

    If it could not get its data it ends with the same status as for a vulnerability, but without a
    summary of the parts.
    """
    # cargo-deny writes its report to stderr.
    lines = [_decoded(line) for line in written.errors.splitlines()]
    summaries = [each["fields"] for each in lines if each.get("type") == "summary"]
    findings = tuple(
        _text(each["fields"])
        for each in lines
        if each.get("type") == "diagnostic" and each["fields"]["severity"] == "error"
    )
    if any(summary.keys() >= set(parts) for summary in summaries):
        return Outcome(check, findings)
    errors = [each["fields"]["message"] for each in lines if each.get("type") == "log"]
    reason = (
        (errors or [written.errors.decode(errors="replace") or "no output"])[-1]
        .strip()
        .splitlines()
    )
    return Outcome(check, findings, missing=f"{reason[0]} ({reason[-1]})")


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = msgspec.json.decode(line, type=dict)
    except msgspec.DecodeError:
        return {}
    return decoded


def _text(fields: dict[str, Any]) -> str:
    """Return one line about a diagnostic: the crate, the number of the advisory, the message."""
    crates = (graph["Krate"] for graph in fields.get("graphs", ()))
    names = ", ".join(f"{crate['name']} {crate['version']}" for crate in crates)
    advisory = (fields.get("advisory") or {}).get("id", "")
    return " ".join(part for part in (names and f"{names}:", advisory, fields["message"]) if part)
