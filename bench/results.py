"""The samples on disk: one file a scenario, with where and with what they were taken."""

import json
from pathlib import Path
from typing import Any, Final

from bench.experiment import Experiment
from bench.traffic import Sample

FOLDER: Final = Path(__file__).parent / "results"


def write(
    name: str, about: dict[str, Any], settings: dict[str, str | int], experiment: Experiment
) -> None:
    """Write the samples of one scenario, a line each, so that a change can be read."""
    FOLDER.mkdir(exist_ok=True)
    plan = experiment.plan
    head = {
        "scenario": name,
        "about": about,
        "postgresql_settings": settings,
        "service_settings": plan.settings,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
    }
    lines = ",\n".join(f"  {json.dumps(_rounded(sample))}" for sample in experiment.samples)
    text = json.dumps(head, indent=1)[:-2] + f',\n "samples": [\n{lines}\n ]\n}}\n'
    (FOLDER / f"{name}.json").write_text(text)


def read(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return what was written, by scenario."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
    return {result["scenario"]: result for result in found}


def _rounded(sample: Sample) -> Sample:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in sample.items()
    }
