"""The samples on disk: one file a scenario, with where and with what they were taken."""

import json
from pathlib import Path
from typing import Any, Final

from bench.traffic import Sample

FOLDER: Final = Path(__file__).parent / "results"

Head = dict[str, Any]
"""Where and with what samples were taken; `scenario` names them."""


def write(head: Head, samples: list[Sample], folder: Path = FOLDER) -> None:
    """Write the samples of one scenario, a line each, so that a change can be read."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(_rounded(sample))}" for sample in samples)
    text = json.dumps(head, indent=1)[:-2] + f',\n "samples": [\n{lines}\n ]\n}}\n'
    (folder / f"{head['scenario']}.json").write_text(text)


def read(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return what was written, by scenario."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
    return {result["scenario"]: result for result in found}


def _rounded(sample: Sample) -> Sample:
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in sample.items()
    }
