"""The room of the files of metrics is taken beforehand, so that a full disk ends no process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from service.model import EVENT_TYPES
from service.reasons import FAULTS

ROOT: Final = Path(__file__).parents[3]
ENDPOINTS: Final = (*EVENT_TYPES, "batch", "index", "health", "health_live", "health_ready")
COUNT_ALL: Final = """
from service.obs import metrics as m
for endpoint in {endpoints}:
    for status in {statuses}:
        m.REQUEST_SECONDS.labels(endpoint, str(status)).observe_all([1.0])
"""
COUNT_ONE: Final = """
from prometheus_client import REGISTRY
from service.obs.metrics import Metrics
Metrics().events_ended("accepted", 3)
assert REGISTRY.get_sample_value("forebay_events_total", {"outcome": "accepted"}) == 3
"""


def run(code: str, folder: Path) -> str:
    """Run *code* in a process of its own: what a process shares is settled once."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_every_endpoint_with_every_status_has_its_room_from_the_start(tmp_path: Path) -> None:
    run("import service.obs.metrics", tmp_path)
    at_start = {path.name.rpartition("_")[0]: path.stat() for path in tmp_path.glob("*.db")}
    for path in tmp_path.iterdir():
        path.unlink()

    statuses = {200, 404, 405, *(fault.status for fault in FAULTS.values())}
    run(COUNT_ALL.format(endpoints=[*ENDPOINTS, "unknown"], statuses=statuses), tmp_path)
    at_end = {path.name.rpartition("_")[0]: path.stat() for path in tmp_path.glob("*.db")}

    assert {"counter", "gauge_livemostrecent", "gauge_livesum", "histogram"} == set(at_start)
    for kind, stat in at_start.items():
        assert stat.st_blocks * 512 >= stat.st_size  # none of it is left to be found later
        assert stat.st_size == at_end[kind].st_size


def test_without_room_the_process_counts_for_itself_and_says_so(tmp_path: Path) -> None:
    said = run(COUNT_ONE, tmp_path / "nowhere")

    assert "metrics_not_shared" in said
    assert "No such file or directory" in said
