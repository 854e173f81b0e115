"""What processes cost, by /proc: CPU time of whole trees, and memory."""

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat, counted behind the name: state, parent, …
_PARENT: Final = 1
_CPU: Final = slice(11, 15)  # utime, stime, cutime, cstime
# Of the first line of /proc/stat: idle and iowait. Its last two are counted in its first two.
_IDLE: Final = (3, 4)
_PROC: Final = Path("/proc")


def tree(pid: int) -> list[int]:
    """Return *pid* and everything below it that lives."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU time of *pid* and everything below it, the dead that were reaped included."""
    return sum(_ticks(member) for member in tree(pid)) / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Return the CPU time that the whole machine has used, and what its host has taken from it."""
    fields = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    used = [int(ticks) for place, ticks in enumerate(fields[:8]) if place not in _IDLE]
    return sum(used) / _TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Return the memory of one process at this moment."""
    return _status_kib(pid, "VmRSS:") * 1024


def peak_rss_bytes(pid: int) -> int:
    """Return the most memory that one process ever had."""
    return _status_kib(pid, "VmHWM:") * 1024


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(int(field) for field in fields[_CPU])


def _stat(pid: int) -> list[str]:
    """Return the fields behind the name, which may itself hold spaces and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:  # it ended while we looked
        return []
    return text.rpartition(")")[2].split()


def _status_kib(pid: int, name: str) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
