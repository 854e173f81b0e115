"""Counts of a run, and whether it failed."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from bench.load.requests import UserRequest

SUCCESS_MIN: Final = 0.95
P50_MS_MAX: Final = 50.0


@dataclass
class Tally:
    """Counts of one run. Requests that the service has to refuse are counted separately."""

    requests: int = 0
    answered: int = 0
    to_refuse: int = 0
    refused: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    unknown: int = 0  # events without a valid answer: they may be stored or not
    retries: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    def count_sent(self, request: UserRequest) -> None:
        """Count events that may be stored from now on, even if no answer comes."""
        self.unknown += request.expected.count("accepted")

    def count_answer(self, request: UserRequest, fault: str | None, latency_ms: float) -> None:
        """Count the answer to a request; *fault* describes an unexpected answer."""
        if request.is_to_be_refused:
            self.to_refuse += 1
            self.refused += fault is None
            return
        self.requests += 1
        self.retries += request.is_retry
        if fault is not None:
            return
        self.answered += 1
        self.latencies_ms.append(latency_ms)
        self.unknown -= request.expected.count("accepted")
        self.accepted += request.expected.count("accepted")
        self.duplicates += request.expected.count("duplicate")
        self.rejected += request.expected.count("rejected")

    @property
    def success(self) -> float:
        """The share of requests with the expected answer."""
        return self.answered / self.requests if self.requests else 0.0

    @property
    def refusal(self) -> float:
        """The share of invalid requests that were refused."""
        return self.refused / self.to_refuse if self.to_refuse else 1.0

    def percentile_ms(self, share: float) -> float:
        """Return the latency that *share* of the answered requests did not exceed; 0 of none."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def write(self, path: Path) -> None:
        """Save the counts as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Tally":
        """Return the counts that `write` has saved."""
        return cls(**json.loads(path.read_text()))


def summary(tally: Tally) -> list[str]:
    """Return the result of a run in a few lines."""
    events = tally.accepted + tally.duplicates + tally.rejected + tally.refused
    total, seconds = tally.requests + tally.to_refuse, tally.seconds
    return [
        f"{total:,} requests in {seconds:.0f} s, {events / (seconds or 1):,.0f} events/s",
        f"accepted: {tally.accepted:,} events",
        f"duplicates: {tally.duplicates:,} events of {tally.retries:,} requests sent again",
        f"refused on purpose, in batches: {tally.rejected:,} events",
        f"refused on purpose, alone: {tally.refused:,} of {tally.to_refuse:,}",
        f"success of the rest: {tally.success:.2%} (expected 100 %, at least {SUCCESS_MIN:.0%})",
        f"p50: {tally.percentile_ms(0.5):.1f} ms (at most {P50_MS_MAX:.0f} ms)",
        f"p99: {tally.percentile_ms(0.99):.1f} ms",
    ]


def failures(tally: Tally, stored: int | None = None) -> list[str]:
    """Return why a run failed; *stored* is the number of events in the database, if known."""
    found = []
    if tally.success < SUCCESS_MIN:
        found.append(f"success is {tally.success:.2%}, below {SUCCESS_MIN:.0%}")
    if tally.refusal < SUCCESS_MIN:
        found.append(f"only {tally.refusal:.2%} of the invalid requests were refused")
    if tally.percentile_ms(0.5) > P50_MS_MAX:
        found.append(f"p50 is {tally.percentile_ms(0.5):.1f} ms, above {P50_MS_MAX:.0f} ms")
    if stored is not None and not tally.accepted <= stored <= tally.accepted + tally.unknown:
        found.append(
            f"{stored:,} events are stored, {tally.accepted:,} were acknowledged"
            f" and {tally.unknown:,} had no answer"
        )
    return found
