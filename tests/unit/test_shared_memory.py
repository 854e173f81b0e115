"""
Memory that the parent process shares with its workers.

If these tests fail: workers do not start, or each one has limits of its own.
"""

import multiprocessing
from mmap import mmap
from multiprocessing.connection import Connection

from service.shared_memory import SharedMemory

SIZE_BYTES = 1_000


def add_one(shared: mmap, said: Connection) -> None:
    shared[7] += 1
    said.send((len(shared), shared[7]))


def test_processes_that_start_one_after_the_other_share_the_memory() -> None:
    spawn = multiprocessing.get_context("spawn")
    shared = SharedMemory(SIZE_BYTES)
    heard, said = spawn.Pipe(duplex=False)

    for expected in (1, 2):
        process = spawn.Process(target=add_one, args=(shared, said))
        process.start()
        assert heard.poll(30)
        assert (SIZE_BYTES, expected) == heard.recv()
        process.join()
