"""The memory of a worker: measures it, and gives free memory back to the system."""

import asyncio
import ctypes
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

INTERVAL_S: Final = 5.0
"""Time between two looks at the size of a worker."""
# Growth that is worth a trim. A trim takes 0.5 ms with 60 MB.
_GROWTH_BYTES: Final = 8 * 1024 * 1024
_STATUS: Final = Path("/proc/self/status")
_RESIDENT: Final = "VmRSS:"
# The HTTP server has its own allocator, jemalloc. By default it keeps free memory for 10 s, and
# for ever if the server is idle.
_HTTP_ALLOCATOR: Final = "_RJEM_MALLOC_CONF"
_HTTP_ALLOCATOR_OPTIONS: Final = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0"


def configure_allocator(environment: MutableMapping[str, str]) -> None:
    """Set in the environment of workers how long the HTTP server may keep free memory."""
    environment.setdefault(_HTTP_ALLOCATOR, _HTTP_ALLOCATOR_OPTIONS)


class WorkerMemory:
    """
    Gives free memory back to the system after the worker has grown.

    The allocator of the C library keeps free memory between blocks in use for ever.
    """

    def __init__(self, on_measured: Callable[[int], None]) -> None:
        """*on_measured* gets the resident memory in bytes, every INTERVAL_S."""
        self._on_measured: Final = on_measured
        # Not on every system: on macOS and with musl there is no such function.
        self._trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._least_bytes = 0

    async def run(self) -> None:
        """Look at the size and trim until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL_S)

    def look(self) -> None:
        """Measure the resident memory; trim it if it has grown since it was smallest."""
        size = resident_bytes()
        if size is None:
            return
        least = self._least_bytes or size
        if self._trim is not None and size > least + _GROWTH_BYTES:
            self._trim(0)
            size = resident_bytes() or size
        self._least_bytes = min(least, size)
        self._on_measured(size)


def resident_bytes() -> int | None:
    """Return the resident memory of this process; None where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(_RESIDENT):
            return int(line.split()[1]) * 1024
    return None
