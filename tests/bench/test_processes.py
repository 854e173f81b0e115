"""
CPU time and memory of processes, and runs that are not valid.

If these tests fail: the published CPU per event is wrong, or a run that lost events is published.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench import processes
from bench.experiment import LoadError, require_all_accepted

BUSY = "sum(range(20_000_000)); print(flush=True); input()"
FAMILY = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"])
child = subprocess.Popen([sys.executable, "-c", {BUSY!r}])
child.wait()
"""
CLEAN = {"requests": 10, "batch": 5, "accepted": 50, "broken": 0, "unanswered": 0}


@pytest.fixture
def family() -> Iterator[int]:
    """A process with a busy child that has ended and a busy child that runs."""
    command = [sys.executable, "-c", FAMILY]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def test_the_cpu_time_of_a_process_includes_its_children(family: int) -> None:
    root, child = processes.process_tree(family)

    assert root == family
    assert processes.cpu_s(root) >= 1.5 * processes.cpu_s(child) > 0


def test_the_machine_has_used_at_least_the_cpu_time_of_this_process() -> None:
    assert processes.machine_cpu_s() >= sum(os.times()[:2])


def test_the_peak_of_the_memory_is_at_least_the_current_memory() -> None:
    now, peak = (processes.rss_bytes(os.getpid(), field) for field in ("VmRSS:", "VmHWM:"))

    assert 1_000_000 < now <= peak < 10_000_000_000


def test_a_process_that_has_ended_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pid = process.pid

    assert (processes.cpu_s(pid), processes.rss_bytes(pid)) == (0, 0)


def test_a_run_in_which_all_events_were_accepted_counts() -> None:
    require_all_accepted(CLEAN | {"statuses": {"200": 10}})


@pytest.mark.parametrize(
    "fault",
    [{"statuses": {"200": 9, "503": 1}}, {"accepted": 49}, {"broken": 1}, {"unanswered": 1}],
    ids=lambda fault: next(iter(fault)),
)
def test_a_run_in_which_an_event_was_not_accepted_does_not_count(fault: dict[str, object]) -> None:
    with pytest.raises(LoadError, match="not all events were accepted"):
        require_all_accepted(CLEAN | {"statuses": {"200": 10}} | fault)
