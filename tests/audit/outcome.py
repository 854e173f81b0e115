"""What an audit of dependencies found, and the exit status of the command."""

import enum
from collections.abc import Sequence

import msgspec


class Status(enum.IntEnum):
    """Exit status of the command."""

    CLEAN = 0
    FOUND = 1
    # 2 is a wrong use of the command, as in other programs.
    NO_DATA = 3


class Outcome(msgspec.Struct, frozen=True):
    """The result of one check. It is complete if *missing* is empty."""

    check: str
    findings: tuple[str, ...] = ()
    # Why advisory data could not be had, for all or for some dependencies.
    missing: str = ""

    @property
    def status(self) -> Status:
        if self.findings:
            return Status.FOUND
        return Status.NO_DATA if self.missing else Status.CLEAN

    def __str__(self) -> str:
        lines = [f"{self.check}: {finding}" for finding in self.findings]
        if self.missing:
            lines.append(f"{self.check}: NOT CHECKED, the data could not be had: {self.missing}")
        return "\n".join(lines) or f"{self.check}: nothing found"


def status_of(outcomes: Sequence[Outcome]) -> Status:
    """Return the status of all checks: a finding counts more than missing data."""
    found = {outcome.status for outcome in outcomes}
    return next((each for each in (Status.FOUND, Status.NO_DATA) if each in found), Status.CLEAN)
