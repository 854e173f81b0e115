"""Memory that the parent process shares with its workers."""

import os
import tempfile
from mmap import mmap
from multiprocessing.reduction import DupFd
from typing import Any


class SharedMemory:
    """
    Memory without a name; the kernel frees it when the last process has ended.

    A worker that gets the object as an argument gets the memory, mapped into its own. A worker that
    replaces another one has the same memory.
    """

    def __init__(self, size_bytes: int) -> None:
        """Create the memory, filled with zeros."""
        self._size_bytes = size_bytes
        self._descriptor = _create()
        os.ftruncate(self._descriptor, size_bytes)

    def __reduce__(self) -> Any:
        """Pickle the object so that the process that unpickles it maps the memory."""
        return _mapped, (DupFd(self._descriptor), self._size_bytes)


def _create() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("forebay")
    # Not Linux.
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _mapped(inherited: Any, size_bytes: int) -> mmap:
    descriptor = inherited.detach()
    try:
        return mmap(descriptor, size_bytes)
    finally:
        os.close(descriptor)
