"""
The queue of log output and its thread: it blocks nobody, and counts each lost line.

If these tests fail: a full disk or a stopped log reader stops the service, or lines are lost
without notice.
"""

import json
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from service.obs.sink import Sink

# Only a hang is to be ended.
TIMEOUT_S: Final = 10.0
RETRY_S: Final = 0.01


def notice(dropped: int) -> bytes:
    return b'{"dropped":%d}\n' % dropped


def line(number: int, padding: int = 0) -> bytes:
    return b'{"n":%d%s}\n' % (number, b" " * padding)


class Pipe:
    """A pipe; what it is given is read on demand."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.text = b""

    def fill(self) -> int:
        """Write lines until there is no room left; return how many."""
        os.set_blocking(self.writer, False)
        count = 0
        try:
            while True:
                os.write(self.writer, b"x" * (select.PIPE_BUF - 1) + b"\n")
                count += 1
        except BlockingIOError:
            return count
        finally:
            os.set_blocking(self.writer, True)

    def read_until(self, condition: Callable[[bytes], bool]) -> bytes:
        """Read until *condition* holds for all that was read."""
        end = time.monotonic() + TIMEOUT_S
        while not condition(self.text):
            left = end - time.monotonic()
            assert left > 0, self.text[-200:]
            if select.select([self.reader], [], [], left)[0]:
                self.text += os.read(self.reader, 65_536)
        return self.text


@pytest.fixture
def pipe() -> Pipe:
    """Return a pipe. It stays open, as its sink's thread outlives the test."""
    return Pipe()


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_lines_of_each_thread_come_out_whole_and_in_order(pipe: Pipe) -> None:
    sink = Sink(pipe.writer, notice)

    def put_all() -> None:
        thread = threading.current_thread().name.encode()
        for number in range(300):
            # Long enough that the pipe is full after some of the lines, and the others queue.
            sink.put(b'{"thread":"%s","n":%d%300s}\n' % (thread, number, b""))

    names = ["a", "b", "c"]
    threads = [threading.Thread(target=put_all, name=name) for name in names]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = pipe.read_until(lambda text: text.count(b"\n") == 900)

    lines = [json.loads(one) for one in text.splitlines()]
    numbers = {name: [one["n"] for one in lines if one["thread"] == name] for name in names}
    assert {name: list(range(300)) for name in names} == numbers
    assert not sink.take_dropped()


def test_a_pipe_without_a_reader_blocks_nothing_and_dropped_lines_are_reported(pipe: Pipe) -> None:
    pipe.fill()
    sink = Sink(pipe.writer, notice, bytes_max=1_000)
    assert sink.drain(TIMEOUT_S)

    sink.put(line(0))  # the thread takes it, and is blocked
    eventually(lambda: not sink._queue)
    for number in range(1, 400):
        sink.put(line(number))
    dropped = sink.take_dropped()
    text = pipe.read_until(lambda text: b"dropped" in text)

    said = [json.loads(one) for one in text.splitlines() if one.startswith(b"{")]
    written = [one["n"] for one in said if "n" in one]
    assert written == list(range(len(written)))
    assert {"queue_full": 400 - len(written)} == dropped
    assert [{"dropped": 400 - len(written)}] == [one for one in said if "dropped" in one]
    assert "dropped" in said[-1]
    sink.put(line(400))
    pipe.read_until(lambda text: b'{"n":400}' in text)


def test_at_the_end_the_wait_for_a_pipe_without_a_reader_is_bounded(pipe: Pipe) -> None:
    pipe.fill()
    sink = Sink(pipe.writer, notice)
    sink.put(line(1))

    assert not sink.drain(0.01)
    pipe.read_until(lambda text: text.endswith(line(1)))


def test_at_the_end_all_that_is_queued_is_written(pipe: Pipe) -> None:
    sink = Sink(pipe.writer, notice)
    for number in range(100):
        sink.put(line(number))

    assert sink.drain(TIMEOUT_S)

    assert 100 == os.read(pipe.reader, 65_536).count(b"\n")


def test_no_write_is_so_long_that_a_pipe_could_cut_a_line() -> None:
    """A socket that keeps the bounds of writes shows them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(TIMEOUT_S)
    long = b"x" * 2 * select.PIPE_BUF + b"\n"
    text = b"".join(line(number, 300) for number in range(30)) + long + line(1)

    Sink(ours.detach(), notice).put(text)
    writes: list[bytes] = []
    while sum(map(len, writes)) < len(text):
        writes.append(theirs.recv(len(text)))

    assert text == b"".join(writes)
    assert all(part.endswith(b"\n") for part in writes)
    # A line that is longer by itself cannot be helped.
    assert [long] == [part for part in writes if len(part) > select.PIPE_BUF]
    theirs.close()


def test_a_pipe_that_another_process_has_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    pipe.fill()
    sink = Sink(pipe.writer, notice, retry_s=RETRY_S)
    os.set_blocking(pipe.writer, False)
    for number in range(100):
        sink.put(line(number))

    text = pipe.read_until(lambda text: text.count(b"{") == 100)

    assert list(range(100)) == [json.loads(x)["n"] for x in text.splitlines() if x[:1] == b"{"]
    assert not sink.take_dropped()


def test_without_a_reader_lines_wait_and_a_new_reader_gets_them(tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "log")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    sink = Sink(writer, notice, bytes_max=1_000, retry_s=RETRY_S)
    os.close(reader)

    sink.put(line(0))
    eventually(lambda: sink._has_failed)
    for number in range(1, 400):
        sink.put(line(number))
    dropped = sink.take_dropped()
    pipe = Pipe()
    pipe.reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    text = pipe.read_until(lambda text: b"dropped" in text)

    said = [json.loads(one) for one in text.splitlines()]
    lost = 401 - len(said)
    assert [*({"n": number} for number in range(400 - lost)), {"dropped": lost}] == said
    assert {"write_failed": lost} == dropped


def test_a_line_that_a_full_disk_cuts_is_counted_and_no_other_is_glued_to_it(
    tmp_path: Path,
) -> None:
    """A limit on the size of files stands for the disk: it cuts one write and fails the next."""
    path = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("wb", buffering=0) as file:
        sink = Sink(file.fileno(), notice, retry_s=RETRY_S)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(line(1)) * 3 + 4, before[1]))
        try:
            sink.put(b"".join(line(number) for number in range(1, 8)))
            eventually(lambda: sink._has_failed)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sink.put(line(8))
        eventually(lambda: b"dropped" in path.read_bytes())

    lines = [line(number)[:-1] for number in range(1, 9)]
    found = path.read_bytes().splitlines()
    assert [*lines[:3], line(4)[:4], *lines[4:7]] == found[:7]
    assert {lines[7], b'{"dropped":1}'} == set(found[7:])
    assert {"write_failed": 1} == sink.take_dropped()


def test_every_line_of_a_batch_that_cannot_be_written_is_counted(pipe: Pipe) -> None:
    """And a later line says how many there were."""
    is_broken = threading.Event()
    is_broken.set()

    class Breaking(Sink):
        def _write(self, rest: bytes) -> None:
            if is_broken.is_set():
                is_broken.clear()
                raise MemoryError
            super()._write(rest)

    sink = Breaking(pipe.writer, notice)
    pipe.fill()  # or `put` writes the lines itself
    sink.put(line(1) + line(2) + line(3))
    eventually(lambda: not is_broken.is_set())
    pipe.read_until(lambda text: text.endswith(notice(3)))
    assert sink.take_dropped().total() == 3
