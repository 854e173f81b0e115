"""Figures out of samples: medians, ranges, ratios."""

import statistics
from collections.abc import Callable
from typing import Any

from bench.traffic import Sample

Samples = list[Sample]
Figure = str | Callable[[Sample], float]


def values(samples: Samples, figure: Figure, **labels: Any) -> list[float]:
    """Return a figure of every sample so labelled."""
    of = figure if callable(figure) else lambda sample: float(sample[figure])
    return [of(sample) for sample in samples if labels.items() <= sample.items()]


def median(samples: Samples, figure: Figure, **labels: Any) -> float | None:
    """Return the median of a figure over the samples so labelled; None without any."""
    found = values(samples, figure, **labels)
    return statistics.median(found) if found else None


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above ÷ below, None when one is missing."""
    return None if above is None or not below else above / below


def cpu(part: str) -> Callable[[Sample], float]:
    """Return how to read what an event cost *part*, in microseconds of CPU."""
    return lambda sample: cpu_us_per_event(sample, part)


def cpu_us_per_event(sample: Sample, part: str) -> float:
    """Return what one event cost *part*, in microseconds of CPU."""
    per_second = sample[f"{part}_cpu_s"] / sample["watched_s"]
    return float(per_second / sample["events_per_s"] * 1e6)


def others_cores(sample: Sample) -> float:
    """Return how many cores were busy with something else in a sample."""
    return float(sample["others_cpu_s"] / sample["watched_s"])


def later_over_earlier(sample: Sample) -> float:
    """Return the mean memory of the second half of a run over that of the first."""
    seen = sample["rss_bytes"]
    half = len(seen) // 2
    return float(statistics.mean(seen[half:]) / statistics.mean(seen[:half]))
