"""
`python -m bench.generator LOAD`: sends events over many connections and prints the figures.

LOAD is JSON: address, keys, connections, batch, rate (requests per second, or null for a closed
loop), warmup and seconds. Standard output has three lines: `begin` and `end` when the measured time
begins and ends, so that the caller can read CPU times, then the figures as JSON.

At a constant rate the due times are fixed in advance. A request is sent late when no connection is
free, and its latency counts from its due time all the same: a slow answer hides no wait (no
coordinated omission). See docs/decisions/0011-load-generator.md.
"""

import gc
import json
import re
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque
from typing import Any, Final

from bench.events import RequestMaker

# Time after the end for requests that are still due and for missing answers.
_PATIENCE_S: Final = 10.0
# Pause between two connections, so that the connections are spread over all workers.
_OPENING_PAUSE_S: Final = 0.002
# A whole request fits, so that sending never waits for the server.
_SEND_BUFFER_BYTES: Final = 1 << 18
_READ_BYTES: Final = 1 << 16
_WAIT_S: Final = 0.1
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 (\d{3})[^\0]*?\r\ncontent-length: *(\d+)[^\0]*?\r\n\r\n", re.IGNORECASE
)
# The answer to a batch has a count, the answer to one event has its status.
_ACCEPTED: Final = re.compile(rb'"accepted"(?:: ?(\d+))?')
_PERCENTILES: Final = {"p50": 500, "p90": 900, "p99": 990, "p999": 999, "max": 1000}
"""In thousandths."""


class LoadGenerator:
    """One run: a warm-up, the measured time, then the answers that are still due."""

    def __init__(self, load: dict[str, Any]) -> None:
        self._host, port = load["address"].split(":")
        self._port = int(port)
        self._rate: float | None = load["rate"]
        self._begin: float = load["warmup"]
        self._seconds: float = load["seconds"]
        self._end = self._begin + self._seconds
        self._requests = RequestMaker(load["address"], load["keys"], load["batch"])
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        # For each connection that awaits an answer: the due time of its request.
        self._due: dict[int, float] = {}
        self._incomplete: dict[int, bytes] = {}
        self._sent = 0
        self._counts: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._latencies_us = array("L")
        # How late this program sent, when it had more than one free connection: its own delay.
        self._late_us = array("L")
        for _ in range(load["connections"]):
            time.sleep(_OPENING_PAUSE_S)
            self._open()
        self._started = time.perf_counter()

    def run(self) -> dict[str, Any]:
        """Run to the end and return the figures."""
        self._started = time.perf_counter()
        marks = deque([(self._begin, "begin"), (self._end, "end")])
        while True:
            now = self._now()
            if marks and marks[0][0] <= now:
                print(marks.popleft()[1], flush=True)
            next_due = self._send_due()
            is_done = now >= self._end and not self._due
            if not marks and (is_done or now >= self._end + _PATIENCE_S):
                return self._figures()
            self._wait(min(now + _WAIT_S, marks[0][0]) if marks else now + _WAIT_S, next_due)

    def _send_due(self) -> float | None:
        """Send all due requests; return the next due time if a connection is free."""
        while self._free:
            now = self._now()
            due = now if self._rate is None else self._sent / self._rate
            if due >= self._end:
                return None
            if due > now:
                return due
            if self._rate is not None and len(self._free) > 1 and due >= self._begin:
                self._late_us.append(int((now - due) * 1e6))
            self._send(due)
        return None

    def _send(self, due: float) -> None:
        self._sent += 1
        connection = self._free.popleft()
        self._due[connection] = due
        try:
            self._sockets[connection].sendall(self._requests.next())
        except OSError:
            self._reopen(connection)

    def _wait(self, until: float, next_due: float | None) -> None:
        """Wait until the earliest of these times, and read the answers that arrive."""
        timeout_s = max(until - self._now(), 0.0)
        if next_due is not None:
            # epoll waits for whole milliseconds, select for microseconds.
            timeout_s = min(timeout_s, max(next_due - self._now(), 0.0))
            select.select((self._epoll,), (), (), timeout_s)
            timeout_s = 0.0
        for connection, _ in self._epoll.poll(timeout_s):
            self._read(connection)

    def _read(self, connection: int) -> None:
        try:
            data = self._sockets[connection].recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._reopen(connection)
            return
        data = self._incomplete.pop(connection, b"") + data
        head = _HEAD.match(data)
        if head is None or len(data) < head.end() + int(head[2]):
            self._incomplete[connection] = data
            return
        accepted = _ACCEPTED.search(data, head.end())
        events = int(accepted[1] or 1) if accepted else 0
        self._free.append(connection)
        self._count(head[1].decode(), events, self._due.pop(connection))

    def _count(self, status: str, events: int, due: float) -> None:
        """Count a request by its due time, and throughput by the time of its answer."""
        now, counts = self._now(), self._counts
        counts["accepted_ever"] += events
        if self._begin <= now < self._end:
            counts["answers_in_time"] += 1
            counts["accepted_in_time"] += events
        if due >= self._begin:
            self._latencies_us.append(int((now - due) * 1e6))
            self._statuses[status] += 1
            counts["accepted"] += events

    def _reopen(self, connection: int) -> None:
        """Replace a connection that broke. A server may close an idle one at any time."""
        due = self._due.pop(connection, None)
        if due is None:
            self._free.remove(connection)
        elif due >= self._begin:
            self._counts["broken"] += 1
        self._incomplete.pop(connection, None)
        self._epoll.unregister(connection)
        self._sockets.pop(connection).close()
        self._open()

    def _open(self) -> None:
        opened = socket.create_connection((self._host, self._port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._sockets[opened.fileno()] = opened
        self._epoll.register(opened.fileno(), select.EPOLLIN)
        self._free.append(opened.fileno())

    def _now(self) -> float:
        return time.perf_counter() - self._started

    def _figures(self) -> dict[str, Any]:
        unanswered = sum(due >= self._begin for due in self._due.values())
        while self._rate is not None and (due := self._sent / self._rate) < self._end:
            self._sent += 1
            unanswered += due >= self._begin
        counts, latencies_us = self._counts, sorted(self._latencies_us)
        figures: dict[str, Any] = {
            "requests": len(latencies_us) + counts["broken"] + unanswered,
            "requests_per_s": counts["answers_in_time"] / self._seconds,
            "events_per_s": counts["accepted_in_time"] / self._seconds,
            "accepted_ever": counts["accepted_ever"],
            "accepted": counts["accepted"],
            "broken": counts["broken"],
            "unanswered": unanswered,
            "statuses": dict(self._statuses),
        }
        for name, permille in _PERCENTILES.items():
            figures[f"{name}_ms"] = percentile(latencies_us, permille) / 1000
        figures["late_p99_ms"] = percentile(sorted(self._late_us), 990) / 1000
        return figures


def percentile(ordered: list[int], permille: int) -> int:
    """Return the percentile by nearest rank, *permille* in thousandths; 0 without values."""
    rank = -(-permille * len(ordered) // 1000)
    return ordered[max(rank, 1) - 1] if ordered else 0


def main() -> None:
    """Run once."""
    gc.disable()  # a garbage collection would add to the latency of an answer
    figures = LoadGenerator(json.loads(sys.argv[1])).run()
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
