"""
The connection of a worker to its parent process.

If these tests fail: requests are lost when a worker is replaced, or workers outlive the service.
"""

import select
import socket
from multiprocessing import Pipe

from service.parent import Link


def test_a_worker_that_leaves_accepts_no_further_connection_and_another_does() -> None:
    ready, said = Pipe(duplex=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        select.epoll() as leaving,
        select.epoll() as serving,
    ):
        leaving.register(listener, select.EPOLLIN | select.EPOLLET)
        link = Link(listener.fileno(), said)
        with socket.create_connection(listener.getsockname()):
            assert leaving.poll(10)
            listener.accept()[0].close()

        link.stop_accepting()
        # A worker has its own event queue; this one began after the other worker had left.
        serving.register(listener, select.EPOLLIN | select.EPOLLET)
        with socket.create_connection(listener.getsockname()):
            assert serving.poll(10)
            assert leaving.poll(0) == []
    ready.close()
    said.close()


def test_a_parent_learns_that_a_worker_is_ready() -> None:
    ready, said = Pipe(duplex=False)
    with ready:
        Link(0, said).say_ready()
        assert ready.poll(10)


def test_a_report_does_not_block_when_the_parent_does_not_read() -> None:
    ready, said = Pipe(duplex=False)
    with ready, said:
        link = Link(0, said)
        link.say_ready()
        for _ in range(1_000):
            link.report(bytes(1_000))
        assert ready.recv_bytes() == b"ready"
        assert ready.recv_bytes() == bytes(1_000)
    link.report(b"closed")


def test_a_worker_ignores_that_its_parent_has_ended() -> None:
    ready, said = Pipe(duplex=False)
    ready.close()
    Link(0, said).say_ready()
    assert said.closed


def test_a_worker_ignores_a_descriptor_that_reuses_the_number_of_its_closed_socket() -> None:
    ready, said = Pipe(duplex=False)
    listener = socket.create_server(("127.0.0.1", 0))
    number = listener.fileno()
    link = Link(number, said)
    listener.close()
    with socket.create_server(("127.0.0.1", 0)) as other, select.epoll() as events:
        assert other.fileno() == number
        events.register(other, select.EPOLLIN)

        link.stop_accepting()
        with socket.create_connection(other.getsockname()):
            assert events.poll(10)
    ready.close()
    said.close()
