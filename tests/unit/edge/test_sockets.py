"""
What the kernel knows of connections, read from real sockets.

If these tests fail: connections of strangers are not seen, or those of others are ended.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import pytest

from service.edge.sockets import Client, ClientConnection, Sockets

HOST: Final = "127.0.0.1"
SEEN_S: Final = 10.0


class Pair(NamedTuple):
    """A connection, seen from both sides."""

    sockets: Sockets
    client: socket.socket
    server: socket.socket

    def observed(self) -> ClientConnection:
        seen = self.sockets.observe(self.server.fileno())
        assert seen is not None
        return seen

    def until(self, condition: Callable[[ClientConnection], bool]) -> ClientConnection:
        deadline = time.monotonic() + SEEN_S
        while not condition(seen := self.observed()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.005)
        return seen


@pytest.fixture(params=[HOST, "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        address = listener.getsockname()
        client = socket.create_connection(address[:2])
        server, _ = listener.accept()
        sockets = Sockets(address[1], family)
        assert sockets.observe(listener.fileno()) is None
        with client, server:
            yield Pair(sockets, client, server)


def test_a_connection_without_a_byte_is_not_receiving(pair: Pair) -> None:
    seen = pair.observed()
    assert (pair.server.fileno(), False, 0) == (
        seen.descriptor,
        seen.is_receiving,
        seen.untaken_bytes,
    )


def test_a_connection_is_receiving_from_the_first_byte_until_the_answer(pair: Pair) -> None:
    pair.client.send(b"G")
    pair.until(lambda seen: seen.is_receiving)
    time.sleep(0.02)
    pair.server.send(b"answer")
    seen = pair.until(lambda seen: not seen.is_receiving)
    assert seen.silent_ms < 1_000


def test_bytes_that_the_client_does_not_read_are_untaken(pair: Pair) -> None:
    pair.server.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            pair.server.send(bytes(65_536))
    seen = pair.observed()
    assert seen.untaken_bytes > 0

    pair.client.recv(10_000_000)
    assert pair.until(lambda now: now.taken_bytes > seen.taken_bytes)


def test_the_client_is_named_as_by_the_http_server(pair: Pair) -> None:
    host, port, *_ = pair.client.getsockname()
    assert (host, str(port)) == pair.sockets.client(pair.server.fileno())


def test_an_ended_connection_is_closed_for_both_sides(pair: Pair) -> None:
    asked: list[Client] = []

    def is_due(_: ClientConnection, client: Client) -> bool:
        asked.append(client)
        return True

    assert pair.sockets.end(pair.server.fileno(), is_due, is_reset=False)
    assert (b"", b"") == (pair.client.recv(1), pair.server.recv(1))
    host, port, *_ = pair.client.getsockname()
    assert [(host, str(port))] == asked


def test_a_connection_that_is_reset_is_gone_with_all_that_was_not_sent(pair: Pair) -> None:
    pair.server.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            pair.server.send(bytes(65_536))
    assert pair.sockets.end(pair.server.fileno(), lambda *_: True, is_reset=True)
    pair.server.close()
    while not pair.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        time.sleep(0.005)


def test_a_connection_that_is_not_due_stays_as_it_is(pair: Pair) -> None:
    assert not pair.sockets.end(pair.server.fileno(), lambda *_: False, is_reset=True)
    pair.server.send(b"x")
    assert pair.client.recv(1) == b"x"


def test_other_descriptors_are_left_alone() -> None:
    sockets = Sockets(1, socket.AF_INET)
    one, other = socket.socketpair()
    reading, writing = os.pipe()
    with one, other, socket.create_server((HOST, 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            for number in (one.fileno(), reading, client.fileno(), listener.fileno(), 10_000):
                assert sockets.observe(number) is None
                assert not sockets.end(number, lambda *_: True, is_reset=True)
            assert {one.fileno(), reading, client.fileno()} <= set(sockets.descriptors())
        one.send(b"x")
        assert other.recv(1) == b"x"
    os.write(writing, b"x")
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.close(writing)
    assert sockets.client(10_000) is None
