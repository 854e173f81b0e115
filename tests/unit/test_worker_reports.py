"""
The answers to health probes on the port of the metrics.

If these tests fail: an orchestrator restarts a service that works, or keeps one that does not.
"""

import json
from typing import Any

import msgspec
import pytest

from service.worker_reports import WorkerReport, WorkerReports


class Reports(WorkerReports):
    """Reports with a clock of the test's own."""

    def __init__(self) -> None:
        super().__init__(monotonic=lambda: self.now)
        self.now = 100.0

    def say(self, pid: int, reason: str | None) -> None:
        health = msgspec.Raw(b'{"status":"ok"}')
        self.hear(pid, msgspec.json.encode(WorkerReport(reason, health)))

    def ask(self, path: str) -> tuple[int, Any]:
        answer = self.answer(path)
        assert answer is not None
        return answer[0], json.loads(answer[1])


@pytest.fixture
def reports() -> Reports:
    return Reports()


def test_without_a_worker_it_is_alive_and_not_ready(reports: Reports) -> None:
    assert 200 == reports.ask("/health/live")[0]
    assert (503, {"status": "not ready", "reason": "starting"}) == reports.ask("/health/ready")
    assert (503, {"status": "unavailable", "workers": []}) == reports.ask("/health")


def test_it_is_ready_when_one_worker_is(reports: Reports) -> None:
    reports.say(1, "full")
    reports.say(2, None)
    assert (200, {"status": "ready"}) == reports.ask("/health/ready")

    reports.forget(2)
    assert (503, {"status": "not ready", "reason": "full"}) == reports.ask("/health/ready")
    assert 200 == reports.ask("/health/live")[0]


def test_it_is_not_alive_when_all_its_workers_are_silent(reports: Reports) -> None:
    reports.say(1, None)
    reports.say(2, None)
    reports.now += 11
    reports.say(2, None)
    assert [200, 200] == [reports.ask(path)[0] for path in ("/health/live", "/health/ready")]

    reports.now += 11
    assert [503, 503] == [reports.ask(path)[0] for path in ("/health/live", "/health/ready")]


def test_the_report_has_each_worker(reports: Reports) -> None:
    reports.say(7, "draining")
    reports.now += 2.5
    worker = {"pid": 7, "reason": "draining", "reported_s_ago": 2.5, "health": {"status": "ok"}}
    assert (503, {"status": "unavailable", "workers": [worker]}) == reports.ask("/health")


def test_a_report_is_never_longer_than_a_pipe_takes_at_once(reports: Reports) -> None:
    health = msgspec.Raw(msgspec.json.encode({"message": "x" * 5_000}))
    message = WorkerReport("full", health).encoded()
    assert len(message) < 100

    reports.hear(1, message)
    assert "full" == reports.ask("/health/ready")[1]["reason"]
    assert reports.ask("/health")[1]["workers"][0]["health"] is None


@pytest.mark.parametrize("path", ["/", "/metrics", "/health/", "/health/other"])
def test_other_paths_are_not_answered(reports: Reports, path: str) -> None:
    assert reports.answer(path) is None
