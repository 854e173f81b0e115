"""Log output of the process: a bounded queue, and a thread that writes."""

import atexit
import contextlib
import io
import os
import select
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal

DropCause = Literal["queue_full", "write_failed", "not_text"]

# The request log of a busy worker for a second or more fits.
_BYTES_MAX: Final = 4 * 1024 * 1024
# Pause between two writes of the thread, in seconds: each write takes the GIL from the event loop.
_PAUSE_S: Final = 0.01
# Pause after a failed write, in seconds.
_RETRY_S: Final = 0.5
# How long the exit of the process waits for queued lines, in seconds.
_EXIT_TIMEOUT_S: Final = 1.0


class Sink:
    """
    Writes lines to a file descriptor. `put` never blocks and never raises.

    A failed write is retried until it succeeds. When the queue is full meanwhile, lines are dropped
    and counted, and one line reports their number as soon as lines can be written again.
    """

    def __init__(
        self,
        fd: int,
        notice: Callable[[int], bytes],
        *,
        bytes_max: int = _BYTES_MAX,
        retry_s: float = _RETRY_S,
    ) -> None:
        """*notice* returns the line that reports the number of dropped lines."""
        self._fd = fd
        self._notice = notice
        self._bytes_max = bytes_max
        self._retry_s = retry_s
        mode = _mode(fd)
        self._is_file = stat.S_ISREG(mode)
        # The workers share one pipe: the kernel may interleave longer writes.
        self._write_max = bytes_max if self._is_file else select.PIPE_BUF
        self._pipe = _non_blocking(fd) if stat.S_ISFIFO(mode) else None
        # Its lock is reentrant: a finalizer may log in the middle of `put`.
        self._changed = threading.Condition(threading.RLock())
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._is_idle = False
        self._has_failed = False
        self._unreported = 0
        self._dropped: Counter[DropCause] = Counter()
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.drain, _EXIT_TIMEOUT_S)

    def put(self, text: bytes) -> None:
        """Queue *text*, which is whole lines."""
        with self._changed:
            if self._is_idle and self._pipe is not None:
                text = self._write_now(self._pipe, text)
                if not text:
                    return
            if self._queued_bytes + len(text) > self._bytes_max:
                self.drop(text.count(b"\n") or 1)
                return
            self._queue.append(text)
            self._queued_bytes += len(text)
            self._wake()

    def drop(self, lines: int, cause: DropCause | None = None) -> None:
        """Count *lines* that will not be written."""
        with self._changed:
            cause = cause or ("write_failed" if self._has_failed else "queue_full")
            self._dropped[cause] += lines
            self._unreported += lines
            self._wake()

    def take_dropped(self) -> "Counter[DropCause]":
        """Return how many lines were dropped since the last call, by cause."""
        with self._changed:
            dropped, self._dropped = self._dropped, Counter()
            return dropped

    def drain(self, timeout_s: float) -> bool:
        """Wait until all lines are written; False if *timeout_s* (seconds) was not enough."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_idle, timeout_s)

    def _wake(self) -> None:
        if self._is_idle:
            self._is_idle = False
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            queue, unreported = self._take()
            lines = sum(text.count(b"\n") for text in queue)
            try:
                self._write_all(b"".join(queue))
                lines = 0
                if unreported:
                    self._write_all(self._notice(unreported))
            except Exception:  # noqa: BLE001 - such as MemoryError: this thread must not end
                with self._changed:
                    self._unreported += unreported
                self.drop(lines)
            time.sleep(_PAUSE_S)

    def _take(self) -> tuple[list[bytes], int]:
        """Wait for lines; return them, and how many were dropped after them."""
        with self._changed:
            while not self._queue and not self._unreported:
                self._is_idle = True
                self._changed.notify_all()  # `drain`
                self._changed.wait()
            queue, self._queue, self._queued_bytes = self._queue, [], 0
            dropped, self._unreported = self._unreported, 0
        return queue, dropped

    def _write_now(self, pipe: int, text: bytes) -> bytes:
        """Write what fits into the pipe, and return the rest."""
        start = 0
        with contextlib.suppress(OSError):
            while start < len(text):
                start += os.write(pipe, text[start : self._end(text, start)])
        return text[start:]

    def _write_all(self, text: bytes) -> None:
        start = 0
        while start < len(text):
            end = self._end(text, start)
            self._write(text[start:end])
            start = end

    def _end(self, text: bytes, start: int) -> int:
        """Return the end of a write that begins at *start*: after a line."""
        if len(text) - start <= self._write_max:
            return len(text)
        end = text.rfind(b"\n", start, start + self._write_max) + 1
        # A single longer line is written in one call; the kernel may interleave it.
        return end or text.find(b"\n", start) + 1 or len(text)

    def _write(self, rest: bytes) -> None:
        last = b"\n"
        while rest:
            try:
                written = os.write(self._fd, rest)
                last, rest = rest[written - 1 : written], rest[written:]
                self._has_failed = False
            except BlockingIOError:  # another process has made the pipe non-blocking
                select.select([], [self._fd], [], self._retry_s)
            except OSError:
                if not self._has_failed:
                    self._has_failed = True
                    rest = self._on_new_line(last, rest)
                time.sleep(self._retry_s)

    def _on_new_line(self, last: bytes, rest: bytes) -> bytes:
        """
        Return what to write after a failure, from *rest*; *last* is the last byte written.

        When the disk is full, the file may end within a line, of this process or of another one.
        The rest of a cut line is dropped, and the next line begins on a line of its own.
        """
        if last != b"\n":
            self.drop(1)
            rest = rest.partition(b"\n")[2]
        return b"\n" + rest if self._is_file else rest


def _mode(fd: int) -> int:
    try:
        return os.fstat(fd).st_mode
    except OSError:
        return 0


def _non_blocking(fd: int) -> int | None:
    """
    Open the pipe *fd* again, without blocking; None if the system does not allow it.

    *fd* itself must not become O_NONBLOCK: other processes share its file description.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


class Stream(io.RawIOBase):
    """A sink as a binary file."""

    def __init__(self, sink: Sink, fd: int) -> None:
        self._sink = sink
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, text: Any, /) -> int:
        """Queue *text*."""
        data = bytes(text)
        self._sink.put(data)
        return len(data)
