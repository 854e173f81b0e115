"""What /proc says of processes."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench import processes

BUSY = "sum(range(20_000_000)); print(flush=True); input()"
FAMILY = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"])
child = subprocess.Popen([sys.executable, "-c", {BUSY!r}])
child.wait()
"""


@pytest.fixture
def family() -> Iterator[int]:
    """A process that had one child, which was busy and ended, and has another that was busy."""
    command = [sys.executable, "-c", FAMILY]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def test_a_tree_holds_the_children_that_live(family: int) -> None:
    assert len(processes.tree(family)) == 2
    assert processes.tree(family)[0] == family


def test_the_cpu_time_of_a_tree_includes_children_that_ended(family: int) -> None:
    root, child = processes.tree(family)

    assert processes.cpu_s(root) >= 1.5 * processes.cpu_s(child) > 0


def test_the_machine_has_used_at_least_what_this_process_has() -> None:
    assert processes.machine_cpu_s() >= sum(os.times()[:2])


def test_the_own_memory_is_what_it_may_be() -> None:
    now, peak = processes.rss_bytes(os.getpid()), processes.peak_rss_bytes(os.getpid())

    assert 1_000_000 < now <= peak < 10_000_000_000


def test_a_process_that_is_gone_costs_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pid = process.pid

    assert (processes.cpu_s(pid), processes.rss_bytes(pid)) == (0, 0)
