"""
The metric files: all workers share them, and their space is reserved against a full disk.

If these tests fail: counts of ended workers are lost or wrong, or a full disk kills the workers.
"""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

from service.model import EVENT_TYPES
from service.obs.metrics_server import MetricsServer
from service.reasons import ERROR_RESPONSES

ROOT: Final = Path(__file__).parents[2]
WORKER: Final = """
from service.obs.metrics import Metrics
metrics = Metrics()
metrics.events_ended("accepted", 3)
metrics.batch_flushed(3, 5, 0.01)
"""
ENDPOINTS: Final = (*EVENT_TYPES, "batch", "index", "health", "health_live", "health_ready")
COUNT_ALL: Final = """
from service.obs import metrics as m
from service.obs.key_labels import KEYS_MAX
from service.reasons import CONFLICT_MESSAGES, ERROR_RESPONSES, Reason
for endpoint in {endpoints}:
    for status in {statuses}:
        m.REQUEST_SECONDS.labels(endpoint, str(status)).observe_all([1.0])
for number in range(KEYS_MAX + 3):
    for code in Reason:
        if code not in ERROR_RESPONSES:
            m.REJECTED_EVENTS.labels(f"{{number:012}}", code).inc()
        if code not in CONFLICT_MESSAGES:
            m.KEY_REFUSED.labels(f"{{number:012}}", code).inc()
"""
COUNT_ONE: Final = """
from prometheus_client import REGISTRY
from service.obs.metrics import Metrics
Metrics().events_ended("accepted", 3)
assert REGISTRY.get_sample_value("forebay_events_total", {"outcome": "accepted"}) == 3
"""


def run(code: str, folder: Path) -> str:
    """Run *code* in a new process, because a process sets up its metric files only once."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_space_for_every_endpoint_and_status_is_reserved_at_the_start(tmp_path: Path) -> None:
    run("import service.obs.metrics", tmp_path)
    at_start = {path.name.rpartition("_")[0]: path.stat() for path in tmp_path.glob("*.db")}
    for path in tmp_path.iterdir():
        path.unlink()

    statuses = {200, 404, 405, *(fault.status for fault in ERROR_RESPONSES.values())}
    run(COUNT_ALL.format(endpoints=[*ENDPOINTS, "unknown"], statuses=statuses), tmp_path)
    at_end = {path.name.rpartition("_")[0]: path.stat() for path in tmp_path.glob("*.db")}

    assert {"counter", "gauge_livemostrecent", "gauge_livesum", "histogram"} == set(at_start)
    for kind, stat in at_start.items():
        assert stat.st_blocks * 512 >= stat.st_size  # no block is left to be allocated later
        assert stat.st_size == at_end[kind].st_size


def test_without_disk_space_a_process_counts_in_its_memory_and_logs_it(tmp_path: Path) -> None:
    said = run(COUNT_ONE, tmp_path / "nowhere")

    assert "metrics_not_shared" in said
    assert "No such file or directory" in said


def count_in_worker(folder: Path) -> int:
    """Count in a new process, and return its process id."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    worker = subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, env=environment)
    assert worker.wait() == 0
    return worker.pid


def scrape(server: MetricsServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        text: str = answer.read().decode()
        return text


def test_metrics_cover_all_workers_and_ended_workers_only_in_counters(tmp_path: Path) -> None:
    server = MetricsServer("127.0.0.1", 0, tmp_path)
    try:
        pids = [count_in_worker(tmp_path) for _ in range(3)]
        server.worker_ended(pids[0])
        files = len(list(tmp_path.iterdir()))
        server.worker_ended(pids[1])
        assert len(list(tmp_path.iterdir())) < files
        text = scrape(server)
    finally:
        server.close()

    assert 'forebay_events_total{outcome="accepted"} 9.0' in text
    assert "forebay_flush_rows_count 3.0" in text
    assert 'forebay_flush_rows_bucket{le="5.0"} 3.0' in text
    # Gauges of ended processes do not count.
    assert "forebay_queue_rows 5.0" in text
