"""
Which connections of clients a worker ends, and when.

If these tests fail: strangers keep others out, or a request in progress is cut off.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest

from service.edge.connections import ConnectionLimits, Connections
from service.edge.sockets import Client, ClientConnection, Sockets
from service.setting_values import networks
from tests.acceptance.running import until

HOST: Final = "203.0.113.7"


class Endings(Sockets):
    """Sockets in memory. An ended one is gone."""

    def __init__(self) -> None:
        super().__init__(0, socket.AF_INET)
        self.open: dict[int, tuple[ClientConnection, Client]] = {}
        self.reset: list[int] = []

    def add(self, number: int, host: str = HOST, **state: Any) -> None:
        known = dict.fromkeys(("taken_bytes", "untaken_bytes"), 0)
        known |= {"silent_ms": 5_000, "is_receiving": False}
        self.open[number] = ClientConnection(number, **known | state), (host, str(number))

    def descriptors(self) -> Iterator[int]:  # type: ignore[override]
        yield from list(self.open)

    def observe(self, descriptor: int) -> ClientConnection | None:
        return self.open[descriptor][0]

    def client(self, descriptor: int) -> Client | None:
        return self.open[descriptor][1]

    def end(
        self, descriptor: int, is_due: Callable[[ClientConnection, Client], bool], *, is_reset: bool
    ) -> bool:
        if descriptor not in self.open or not is_due(*self.open[descriptor]):
            return False
        del self.open[descriptor]
        if is_reset:
            self.reset.append(descriptor)
        return True


class Bench:
    """Connections with a clock of the test's own."""

    def __init__(self, **limits: Any) -> None:
        given: dict[str, Any] = {
            "connections_max": 100,
            "per_address_max": 0,
            "trusted": networks("10.0.0.0/8"),
            "header_timeout_s": 10.0,
            "answer_timeout_s": 30.0,
        }
        self.now = 100.0
        self.sockets = Endings()
        self.in_progress: set[Client] = set()
        self.swept: list[tuple[int, dict[str, int]]] = []
        self.connections = Connections(
            self.sockets,
            ConnectionLimits(**given | limits),
            self.in_progress,
            lambda count, ended: self.swept.append((count, dict(ended))),
            lambda: self.now,
        )

    async def sweep(self, after_s: float = 0) -> tuple[int, dict[str, int]]:
        self.now += after_s
        await self.connections.sweep()
        return self.swept[-1]


async def test_connections_below_the_limits_are_counted_and_stay() -> None:
    bench = Bench()
    for number in range(90):
        bench.sockets.add(number, silent_ms=70_000)
    assert (90, {}) == await bench.sweep()
    assert (90, {}) == await bench.sweep(600)


async def test_near_the_limit_the_longest_idle_connections_are_ended() -> None:
    bench = Bench()
    for number in range(95):
        bench.sockets.add(number, silent_ms=number * 1_000)
    bench.in_progress.add(bench.sockets.open[94][1])
    assert (95, {"room": 15}) == await bench.sweep()
    assert [*range(79), 94] == sorted(bench.sockets.open)
    assert (80, {}) == await bench.sweep()


async def test_incomplete_requests_are_ended_when_there_are_no_idle_connections_left() -> None:
    bench = Bench()
    for number in range(95):
        bench.sockets.add(number, is_receiving=number < 90, silent_ms=0)
    for number in range(50):
        bench.in_progress.add((HOST, str(number)))
    assert (95, {}) == await bench.sweep()
    assert (95, {"room": 15}) == await bench.sweep(1)
    assert set(range(50)) <= set(bench.sockets.open)
    assert set(range(90, 95)) <= set(bench.sockets.open)


async def test_the_headers_of_a_request_have_a_deadline_and_a_request_in_progress_has_none() -> (
    None
):
    bench = Bench()
    for number in range(3):
        bench.sockets.add(number, is_receiving=True, silent_ms=0)
    bench.in_progress.add((HOST, "0"))
    await bench.sweep()
    assert (3, {}) == await bench.sweep(9)
    bench.sockets.add(2, is_receiving=True, silent_ms=0, taken_bytes=300)  # the next request
    assert (3, {"header": 1}) == await bench.sweep(1)
    assert {0, 2} == set(bench.sockets.open)
    assert (2, {"header": 1}) == await bench.sweep(10)
    assert [] == bench.sockets.reset


async def test_an_answer_has_a_deadline_for_all_of_its_bytes() -> None:
    """One client reads nothing, one a byte now and then, one receives one answer after another."""
    bench = Bench()
    for number in range(3):
        bench.sockets.add(number, untaken_bytes=100)
    await bench.sweep()
    for second in range(1, 30):
        bench.sockets.add(1, untaken_bytes=100 - second, taken_bytes=second)
        bench.sockets.add(2, untaken_bytes=100, taken_bytes=second * 50)
        assert (3, {}) == await bench.sweep(1)
    assert (3, {"answer": 2}) == await bench.sweep(1)
    assert [0, 1] == bench.sockets.reset


@pytest.mark.parametrize(("in_progress", "left"), [(10, range(20)), (25, [*range(25)])])
async def test_an_address_has_its_limit_and_a_trusted_one_has_none(
    in_progress: int, left: Sequence[int]
) -> None:
    """The longest idle ones are ended first, and requests in progress last."""
    bench = Bench(per_address_max=20)
    for number in range(30):
        bench.sockets.add(number, silent_ms=number * 1_000)
        bench.sockets.add(100 + number, "10.0.0.1")
    for number in range(in_progress):
        bench.in_progress.add((HOST, str(number)))
    await bench.sweep()
    assert (60, {"address": 10}) == await bench.sweep()
    assert {*left[:20], *range(100, 130)} == set(bench.sockets.open)
    assert (50, {}) == await bench.sweep()


async def test_a_stop_ends_what_has_no_request_in_progress() -> None:
    bench = Bench()
    bench.sockets.add(1, is_receiving=True)  # in progress
    bench.in_progress.add((HOST, "1"))
    bench.sockets.add(2, silent_ms=5_000)
    bench.sockets.add(3, is_receiving=True, silent_ms=10)
    bench.sockets.add(4, untaken_bytes=100, silent_ms=5_000)
    bench.connections.stop(5)
    assert (4, {"stop": 1}) == await bench.sweep()
    assert (3, {"answer": 1, "stop": 1}) == await bench.sweep(1)
    assert {1} == set(bench.sockets.open)


async def test_a_stop_does_not_end_a_connection_whose_answer_is_on_its_way() -> None:
    bench = Bench()
    bench.sockets.add(1, is_receiving=True)
    bench.in_progress.add((HOST, "1"))
    bench.connections.stop(5)
    for _ in range(3):
        assert (1, {}) == await bench.sweep(1)
    bench.in_progress.clear()  # the edge has answered; the HTTP server has not sent it
    assert (1, {}) == await bench.sweep(1)
    assert (1, {"stop": 1}) == await bench.sweep(1)


async def test_a_stop_waits_for_clients_that_receive_their_answer_but_not_for_ever() -> None:
    bench = Bench()
    bench.sockets.add(1, untaken_bytes=1_000)
    await bench.sweep()
    bench.connections.stop(5)
    for half_second in range(1, 10):
        bench.sockets.add(1, untaken_bytes=1_000 - half_second, taken_bytes=half_second)
        assert (1, {}) == await bench.sweep(0.5)
    bench.sockets.add(1, untaken_bytes=900, taken_bytes=100)
    assert (1, {"answer": 1}) == await bench.sweep(0.5)


async def test_the_sweeps_go_on_until_they_are_cancelled() -> None:
    bench = Bench()
    bench.sockets.add(1)
    bench.connections.stop(5)  # without long pauses
    task = asyncio.create_task(bench.connections.run())

    async def has_swept() -> bool:
        return len(bench.swept) > 2

    await until(has_swept, 10, "it has swept")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
