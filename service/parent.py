"""
What a worker does when its parent is gone, killed say: it ends too.

Nobody would replace it or tell it to stop any more, and it would keep the port from the next start.
multiprocessing holds one end of a pipe in the parent and one here: when the parent ends, however it
ends, ours can be read. So there is nothing to poll, and no number of a process to compare.
"""

import asyncio
import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

log = structlog.get_logger()

# What the parent gives a worker beyond its drain before it kills it.
_KILL_GRACE_S: Final = 5.0


def exit_with_parent() -> None:
    """End this worker at once when its parent ends: while it starts it has nothing to finish."""
    _watch(partial(os._exit, 1))


def drain_with_parent(timeout_s: float) -> None:
    """From now on answer what was begun before ending with the parent, for up to *timeout_s*."""
    _watch(partial(_drain, timeout_s))


def _watch(end: Callable[[], None]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # The one reader of the sentinel: a second call takes the place of the first.
        asyncio.get_running_loop().add_reader(parent.sentinel, end)


def _drain(timeout_s: float) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - it was watched
    asyncio.get_running_loop().remove_reader(parent.sentinel)
    # The kernel ends what has not ended by then, whatever it hangs in: no parent will.
    signal.alarm(math.ceil(timeout_s + _KILL_GRACE_S))
    # As the parent would have asked.
    os.kill(os.getpid(), signal.SIGTERM)
    log.error("parent_gone", pid=os.getpid())
