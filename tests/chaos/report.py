"""The fault runs: a load whose every event is checked, and the table of faults and lost events."""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from provision.keys import NewKey
from tests.acceptance.ledger import Ledger, check_refusals, load, mixed, new_ledger
from tests.acceptance.site import Site

_COLUMNS: Final = (
    *("run", "kills", "cuts", "requests", "events"),
    *("unknown", "resent", "lost", "doubled", "worst recovery, s", "seconds"),
)


class Run(msgspec.Struct):
    """One run: its faults, and the differences that the checker found."""

    name: str
    began: float = msgspec.field(default_factory=time.monotonic)
    kills: int = 0
    cuts: int = 0
    requests: int = 0
    events: int = 0
    unknown: int = 0
    resent: int = 0
    lost: int = 0
    doubled: int = 0
    recovery_s: float = 0.0
    duration_s: float = 0.0

    def say(self, text: str) -> None:
        """Print progress, visible in the long form, in which pytest captures no output."""
        print(f"[{time.monotonic() - self.began:7.1f} s] {self.name}: {text}", flush=True)

    def recovered(self, seconds: float) -> None:
        """Record the recovery time."""
        self.recovery_s = max(self.recovery_s, seconds)

    async def recovers(self, ledger: Ledger) -> None:
        """Wait until events are acknowledged again, and record the time."""
        began = time.monotonic()
        await ledger.until_acked(10)
        self.recovered(time.monotonic() - began)

    async def judge(self, ledger: Ledger, site: Site, key: NewKey) -> None:
        """Send unanswered events again, compare all with the database, and record the numbers."""
        before = await ledger.findings(site, key)
        self.unknown += len(set(ledger.unknown))
        async with site.client(key) as client:
            await ledger.send_unanswered(client)
        after = await ledger.findings(site, key)
        kinds = Counter(line.partition(":")[0] for line in dict.fromkeys(before + after))
        self.requests += ledger.statuses.total() + ledger.faults.total()
        self.events += len(set(ledger.sent))
        self.resent += ledger.resent
        self.doubled += kinds.pop("doubled", 0) + kinds.pop("accepted twice", 0)
        self.lost += kinds.total()
        self.duration_s = time.monotonic() - self.began
        self.say(f"statuses {dict(ledger.statuses)}, faults {dict(ledger.faults)}")
        assert ([], []) == (before, after)
        await ledger.check(site, key)


class Report:
    """The runs of one session, in their order."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def begin(self, name: str) -> Run:
        """Begin a run. Its row is shown even if it fails."""
        run = Run(name)
        self.runs.append(run)
        return run

    def as_markdown(self) -> str:
        """Return the table with its sums."""
        rows = [_cells(run) for run in self.runs]
        sums = Run("**all**")
        for run in self.runs:
            for field in ("kills", "cuts", "requests", "events", "unknown", "resent"):
                setattr(sums, field, getattr(sums, field) + getattr(run, field))
            sums.lost += run.lost
            sums.doubled += run.doubled
            sums.duration_s += run.duration_s
            sums.recovered(run.recovery_s)
        head = [_COLUMNS, ("---", *("--:",) * (len(_COLUMNS) - 1))]
        lines = [*head, *rows, _cells(sums)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@contextlib.asynccontextmanager
async def under_load(
    site: Site, key: NewKey, run: Run, *, is_cut: bool = False
) -> AsyncIterator[Ledger]:
    """
    Send load during the block, and check it afterwards: every answer is 200 or 503.

    *is_cut* allows broken connections, for runs that kill workers.
    """
    ledger = new_ledger(site)
    batches = mixed(ledger, seed=1)
    async with load(site, key, connections=4, ledger=ledger, batches=batches):
        await ledger.until_acked(10)
        yield ledger
    check_refusals(ledger.answers)
    assert is_cut or not ledger.faults
    await run.judge(ledger, site, key)


def _cells(run: Run) -> tuple[str, ...]:
    done = (run.kills, run.cuts, run.requests, run.events)
    found = (run.unknown, run.resent, run.lost, run.doubled)
    times = (f"{run.recovery_s:.1f}" if run.recovery_s else "", f"{run.duration_s:.0f}")
    return (run.name, *(f"{number:,}" for number in done + found), *times)


REPORT: Final = Report()
