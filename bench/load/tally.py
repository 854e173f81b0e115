"""What came of a run, and whether that will do."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from bench.load.traffic import Request

SUCCESS_FLOOR: Final = 0.95
P50_MS_MAX: Final = 50.0


@dataclass
class Tally:
    """Counts of one run; what is refused on purpose is counted apart."""

    requests: int = 0
    answered: int = 0
    to_refuse: int = 0
    refused: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    unsettled: int = 0  # events of which nobody knows: stored or not
    retries: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    def sent(self, request: Request) -> None:
        """Count what may be stored from now on, also if no answer comes."""
        self.unsettled += request.expected.count("accepted")

    def settle(self, request: Request, fault: str | None, latency_ms: float) -> None:
        """Count the answer to what was sent; *fault* is what was wrong with it."""
        if request.is_to_be_refused:
            self.to_refuse += 1
            self.refused += fault is None
            return
        self.requests += 1
        self.retries += request.is_retry
        if fault is not None:
            return
        self.answered += 1
        self.unsettled -= request.expected.count("accepted")
        self.latencies_ms.append(latency_ms)
        self.accepted += request.expected.count("accepted")
        self.duplicates += request.expected.count("duplicate")
        self.rejected += request.expected.count("rejected")

    @property
    def success(self) -> float:
        """The share of what was to be stored that was answered as it has to be."""
        return self.answered / self.requests if self.requests else 0.0

    @property
    def refusal(self) -> float:
        """The share of what was to be refused that was."""
        return self.refused / self.to_refuse if self.to_refuse else 1.0

    def percentile_ms(self, share: float) -> float:
        """Return the latency that *share* of the answered requests did not pass; 0 of none."""
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return 0.0
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def write(self, path: Path) -> None:
        """Save it as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Tally":
        """Return what `write` saved."""
        return cls(**json.loads(path.read_text()))


def summary(tally: Tally) -> list[str]:
    """Say in a few lines what came of a run."""
    events = tally.accepted + tally.duplicates + tally.rejected + tally.refused
    seconds = tally.seconds or 1.0
    total = tally.requests + tally.to_refuse
    return [
        f"{total:,} requests in {tally.seconds:.0f} s, {events / seconds:,.0f} events/s",
        f"accepted: {tally.accepted:,} events",
        f"duplicates: {tally.duplicates:,} events of {tally.retries:,} requests sent again",
        f"refused on purpose, in batches: {tally.rejected:,} events",
        f"refused on purpose, alone: {tally.refused:,} of {tally.to_refuse:,}",
        f"success of the rest: {tally.success:.2%} (expected 100 %, floor {SUCCESS_FLOOR:.0%})",
        f"p50: {tally.percentile_ms(0.5):.1f} ms (at most {P50_MS_MAX:.0f} ms)",
        f"p99: {tally.percentile_ms(0.99):.1f} ms",
    ]


def failures(tally: Tally, stored: int | None = None) -> list[str]:
    """Return why a run will not do; *stored* is how many events the database holds, if known."""
    found = []
    if tally.success < SUCCESS_FLOOR:
        found.append(f"success is {tally.success:.2%}, below the floor of {SUCCESS_FLOOR:.0%}")
    if tally.refusal < SUCCESS_FLOOR:
        found.append(f"only {tally.refusal:.2%} of what was to be refused was")
    if tally.percentile_ms(0.5) > P50_MS_MAX:
        found.append(f"p50 is {tally.percentile_ms(0.5):.1f} ms, above {P50_MS_MAX:.0f} ms")
    if stored is not None and not tally.accepted <= stored <= tally.accepted + tally.unsettled:
        found.append(
            f"{stored:,} events are stored, {tally.accepted:,} were acknowledged"
            f" and {tally.unsettled:,} are unsettled"
        )
    return found
