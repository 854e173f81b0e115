"""The worker processes: the parent starts, restarts, replaces and stops them."""

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, Protocol

import structlog

from service.parent import KILL_GRACE_S, LEAVE, STOP

log = structlog.get_logger()

_PAUSE_MIN_S: Final = 0.2
_PAUSE_MAX_S: Final = 5.0
# A worker that ran for this long before it ended is started again after the shortest pause.
_HEALTHY_S: Final = 30.0
# Seconds from LEAVE to SIGTERM. In this time a replaced worker closes each connection after its
# next answer; at SIGTERM it closes the idle ones too.
_LEAVE_S: Final = 0.5


class Server(Protocol):
    """Creates the processes of numbered slots. Each slot has a listening socket and a worker."""

    def make(self, number: int, ready: Connection) -> BaseProcess:
        """Return an unstarted process that writes to *ready* once it accepts requests."""

    def refuse(self, number: int) -> None:
        """Shut down the listening socket of a slot, until a worker of the slot listens again."""

    def close(self, number: int) -> None:
        """Close the parent's descriptor of the listening socket of a slot."""


class _Worker:
    """One worker process."""

    def __init__(self, number: int, generation: int, server: Server) -> None:
        self.number = number
        self.generation = generation
        self.is_ready = False
        self.is_told = False
        """Whether it was told to leave or to stop. If so, its end is not a failure."""
        self._is_stopping = False
        self.due = math.inf
        """Time of its next step, in monotonic seconds."""
        self._step: Callable[[], None] = self.kill
        self.started = time.monotonic()
        self.ready, child_end = Pipe(duplex=False)
        # The parent closes its copy, so that the pipe reports EOF when the worker exits.
        with child_end, _hang_up_blocked():
            self.process = server.make(number, child_end)
            self.process.start()
        self.pid = self.process.pid or 0

    def take_step(self) -> None:
        """Run the step that is due: stop the worker, or kill it."""
        self._step()

    def leave(self, stop_timeout_s: float) -> None:
        """Tell the worker to stop accepting connections; stop it 0.5 s later."""
        self.is_told = True
        self.process_signal(LEAVE)
        self._then(_LEAVE_S, lambda: self.stop(stop_timeout_s))

    def stop(self, timeout_s: float) -> None:
        """
        Send SIGTERM, so that the worker finishes its requests and exits.

        Kill the worker after the timeout.
        """
        self.is_told = True
        if not self.is_ready:  # it has no requests
            self.kill()
            return
        if self._is_stopping:  # a second stop does not extend the first
            return
        self._is_stopping = True
        for number in (STOP, signal.SIGTERM):
            self.process_signal(number)
        self._then(timeout_s, partial(self._give_up, timeout_s))

    def kill(self) -> None:
        """Kill the worker at once."""
        self.process_signal(signal.SIGKILL)
        self.due = math.inf

    def process_signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker."""
        # The process is not reaped before `close`, so its process id cannot have been reused.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> int | None:
        """Reap the ended process, and return its exit code."""
        self.process.join()
        code = self.process.exitcode
        self.process.close()
        self.ready.close()
        return code

    def _give_up(self, timeout_s: float) -> None:
        reason = f"not stopped within {timeout_s:g} s of SIGTERM"
        log.warning("worker_killed", pid=self.pid, reason=reason)
        self.kill()

    def _then(self, pause_s: float, step: Callable[[], None]) -> None:
        self.due, self._step = time.monotonic() + pause_s, step


class _Slot:
    """The slot of one worker and its successors: the time at which the next worker may start."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.start_at = 0.0
        """Earliest start of the next worker, in monotonic seconds."""
        self._pause_s = _PAUSE_MIN_S

    def failed(self, lived_s: float) -> float:
        """Return the seconds until the next start, after a worker that lived for *lived_s*."""
        if lived_s >= _HEALTHY_S:
            self._pause_s = _PAUSE_MIN_S
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _PAUSE_MAX_S)
        self.start_at = time.monotonic() + pause_s
        return pause_s


class Workers:
    """Keeps *count* workers running until SIGTERM or SIGINT."""

    def __init__(
        self,
        count: int,
        drain_timeout_s: float,
        on_end: Callable[[int], None],
        on_report: Callable[[int, bytes], None] = lambda _pid, _report: None,
    ) -> None:
        """
        *on_end* gets the process id of each worker that has ended.

        *on_report* gets the process id of a worker and its report.
        """
        self._slots = [_Slot(number) for number in range(count)]
        self._stop_timeout_s = drain_timeout_s + KILL_GRACE_S
        self._on_end = on_end
        self._on_report = on_report
        self._workers: list[_Worker] = []
        # Generation number: incremented by each reload; workers of older generations are replaced.
        self._generation = 0
        self._is_stopping = False

    def run(self, server: Server) -> None:
        """Run until SIGTERM or SIGINT; SIGHUP replaces every worker."""
        with self._signals() as wakes:
            try:
                while not self._is_stopping:
                    # Both calls get the same time, so that no due start is missed.
                    now = time.monotonic()
                    self._stop_outdated()
                    self._start_missing(server, now)
                    self._wait(wakes, server, now)
                self._stop_all(server)
                while self._workers:
                    self._wait(wakes, server, time.monotonic())
            finally:
                # After an error in this loop, no process would restart or stop the workers.
                for worker in self._workers:
                    worker.kill()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Handle signals; the socket can be read after each one."""
        wakes, waker = socket.socketpair()
        with wakes, waker:
            wakes.setblocking(False)
            waker.setblocking(False)
            signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            signal.signal(signal.SIGHUP, self._reload)
            try:
                yield wakes
            finally:
                signal.set_wakeup_fd(-1)

    def _stop(self, *_: Any) -> None:
        self._is_stopping = True

    def _reload(self, *_: Any) -> None:
        self._generation += 1

    def _stop_all(self, server: Server) -> None:
        for slot in self._slots:
            # `refuse` would shut the socket down, and then an idle worker of Granian does not end.
            server.close(slot.number)
        for worker in self._workers:
            self._hear(worker)
            worker.stop(self._stop_timeout_s)

    def _stop_outdated(self) -> None:
        """Stop the workers that were started before the last reload and are not ready yet."""
        for worker in self._workers:
            if worker.generation < self._generation and not worker.is_told:
                self._hear(worker)
                if not worker.is_ready:
                    worker.stop(self._stop_timeout_s)

    def _start_missing(self, server: Server, now: float) -> None:
        """Start a worker in each empty slot; after a reload, one successor at a time."""
        active = [worker for worker in self._workers if not worker.is_told]
        is_replacing = not all(worker.is_ready for worker in active)
        for slot in self._slots:
            here = [worker for worker in active if worker.number == slot.number]
            is_new = any(worker.generation == self._generation for worker in here)
            if is_new or (here and is_replacing) or now < slot.start_at:
                continue
            is_replacing = True
            try:
                self._workers.append(_Worker(slot.number, self._generation, server))
            except Exception as error:  # noqa: BLE001 - every error is retried
                pause_s = slot.failed(0.0)
                log.error("worker_not_started", reason=str(error), pause_s=pause_s)  # noqa: TRY400

    def _wait(self, wakes: socket.socket, server: Server, now: float) -> None:
        """Wait for the next event or due time, and handle it."""
        dues = [worker.due for worker in self._workers]
        dues += [slot.start_at for slot in self._slots if slot.start_at > now]
        due = min(dues, default=math.inf)
        ends = {worker.process.sentinel: worker for worker in self._workers}
        pipes = [worker.ready for worker in self._workers if not worker.ready.closed]
        timeout_s = None if due == math.inf else max(due - time.monotonic(), 0)
        seen = wait([wakes, *ends, *pipes], timeout_s)
        if wakes in seen:
            with contextlib.suppress(BlockingIOError):
                wakes.recv(4096)
        for worker in self._workers:
            self._hear(worker)
        for worker in [ends[end] for end in seen if isinstance(end, int)]:
            self._remove(worker, server)
        for worker in self._workers:
            if worker.due <= time.monotonic():
                worker.take_step()

    def _hear(self, worker: _Worker) -> None:
        """Receive what *worker* has sent: first that it is ready, then its reports."""
        while not worker.ready.closed and worker.ready.poll():
            try:
                message = worker.ready.recv_bytes()
            except (EOFError, OSError):  # it has ended
                worker.ready.close()
                return
            if worker.is_ready:
                self._on_report(worker.pid, message)
            else:
                worker.is_ready = True
                self._replace_older(worker)

    def _replace_older(self, worker: _Worker) -> None:
        """Tell the predecessor of *worker*, which is ready, to leave."""
        for other in self._workers:
            is_older = other.number == worker.number and other.generation < worker.generation
            if is_older and not other.is_told:
                other.leave(self._stop_timeout_s)

    def _remove(self, worker: _Worker, server: Server) -> None:
        """Remove an ended worker; unless it was told to end, a new one starts after a pause."""
        self._workers.remove(worker)
        code = worker.close()
        try:
            self._on_end(worker.pid)
        except Exception:
            log.exception("worker_metrics_lost", pid=worker.pid)
        if not worker.is_told:
            pause_s = self._slots[worker.number].failed(time.monotonic() - worker.started)
            log.error("worker_ended", pid=worker.pid, exit_code=code, pause_s=pause_s)
        self._stop_listening(worker.number, server)

    def _stop_listening(self, number: int, server: Server) -> None:
        """
        Shut the socket of a slot down if none of its workers accepts connections.

        Otherwise connections would wait in the socket. A worker that waits for the database, or
        only finishes its requests, does not accept them, but has the socket open.
        """
        here = [worker for worker in self._workers if worker.number == number]
        for worker in here:
            self._hear(worker)
        if not any(worker.is_ready and not worker.is_told for worker in here):
            server.refuse(number)
        if not here:
            server.close(number)


@contextlib.contextmanager
def _hang_up_blocked() -> Iterator[None]:
    """
    Block SIGHUP: a process started in this block inherits the mask, and never receives SIGHUP.

    A terminal sends SIGHUP to all of its processes, but only the parent must handle it. The parent
    handles a SIGHUP that arrives in the meantime after the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
