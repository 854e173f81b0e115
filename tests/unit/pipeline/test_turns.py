"""
Large bodies are scanned in turn, a few of them in one iteration of the event loop.

If these tests fail: the large bodies of one key occupy a worker, and all other requests wait.
"""

import asyncio

from service.pipeline.turns import ScanTurns

TURN_BYTES = 100


class Scans:
    """Bodies that ask for their turn, and the iterations of the event loop they were given."""

    def __init__(self) -> None:
        self.waits = 0
        self.turns = ScanTurns(TURN_BYTES, self._waited)
        self.order = ""
        self.iterations: list[int] = []
        self._iteration = 0

    def send(self, key_id: str, size_bytes: int) -> "asyncio.Task[None]":
        return asyncio.create_task(self._scan(key_id, size_bytes))

    async def run(self, iterations: int) -> None:
        for _ in range(iterations):
            await asyncio.sleep(0)
            self._iteration += 1

    async def _scan(self, key_id: str, size_bytes: int) -> None:
        if not self.turns.take(size_bytes):
            await self.turns.wait(key_id, size_bytes)
        self.order += key_id
        self.iterations.append(self._iteration)

    def _waited(self) -> None:
        self.waits += 1


async def test_a_body_alone_does_not_wait() -> None:
    scans = Scans()

    await asyncio.wait_for(scans.send("a", 1_000), 1)

    assert (0, "a") == (scans.waits, scans.order)


async def test_an_iteration_scans_up_to_its_bytes_and_at_least_one_body() -> None:
    scans = Scans()
    for _ in range(6):
        scans.send("a", 60)
    await scans.run(10)

    assert ("a" * 6, 4) == (scans.order, scans.waits)
    # Two bodies of 60 bytes go over 100.
    most = max(scans.iterations.count(number) for number in range(10))
    assert 2 == most


async def test_the_body_of_another_key_is_next_however_many_wait() -> None:
    scans = Scans()
    for _ in range(50):
        scans.send("a", 1_000)
    await scans.run(2)
    begun = len(scans.order)
    assert begun < 5
    scans.send("b", 1_000)
    await scans.run(10)

    assert scans.order.index("b") <= begun + 2


async def test_a_request_that_was_cancelled_takes_no_turn() -> None:
    scans = Scans()
    scans.send("a", 1_000)
    cancelled = scans.send("b", 1_000)
    scans.send("c", 1_000)
    await scans.run(1)
    cancelled.cancel()
    await scans.run(10)

    assert "ac" == scans.order
