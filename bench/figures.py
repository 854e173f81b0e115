"""Samples and the figures that are computed from them; samples on disk."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "results"

Sample = dict[str, Any]
"""One measurement: its labels (scenario, side, workers, ...) and its figures, with units."""

Samples = list[Sample]
Figure = str | Callable[[Sample], float | None]
"""A name of a figure, or a function of a sample; None when the sample does not have it."""


def values(samples: Samples, figure: Figure, **labels: Any) -> list[float]:
    """Return a figure of each sample that has these labels and this figure."""
    of = figure if callable(figure) else lambda sample: sample.get(figure)
    found = (of(sample) for sample in samples if labels.items() <= sample.items())
    return [float(value) for value in found if value is not None]


def median(samples: Samples, figure: Figure, **labels: Any) -> float | None:
    """Return the median of a figure over the samples with these labels; None without any."""
    found = values(samples, figure, **labels)
    return statistics.median(found) if found else None


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above ÷ below; None when one is missing."""
    return None if above is None or not below else above / below


def cpu(part: str) -> Figure:
    """Return the figure "CPU per event of *part*", in microseconds."""
    return lambda sample: cpu_us_per_event(sample, part) if f"{part}_cpu_s" in sample else None


def cpu_us_per_event(sample: Sample, part: str) -> float:
    """Return the CPU time of *part* per event, in microseconds."""
    per_second = sample[f"{part}_cpu_s"] / sample["watched_s"]
    return float(per_second / sample["events_per_s"] * 1e6)


def others_cores(sample: Sample) -> float:
    """Return the mean number of cores that were busy with other programs."""
    return float(sample["others_cpu_s"] / sample["watched_s"])


def second_half_rss(sample: Sample) -> float:
    """Return the mean memory of the second half of a run ÷ that of the first half."""
    seen = sample["rss_bytes"]
    half = len(seen) // 2
    return float(statistics.mean(seen[half:]) / statistics.mean(seen[:half]))


def write_result(head: dict[str, Any], samples: Samples, folder: Path = FOLDER) -> None:
    """Write the samples of a scenario, one on each line, after *head*: how they were taken."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(_rounded(sample))}" for sample in samples)
    text = json.dumps(head, indent=1)[:-2] + f',\n "samples": [\n{lines}\n ]\n}}\n'
    (folder / f"{head['scenario']}.json").write_text(text)


def read_results(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return what `write_result` has written, by scenario."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
    return {result["scenario"]: result for result in found}


def _rounded(sample: Sample) -> Sample:
    floats = {name: round(value, 4) for name, value in sample.items() if isinstance(value, float)}
    return sample | floats
