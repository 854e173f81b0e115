"""
The memory of a worker is measured, and given back.

If these tests fail: after an attack or a peak of load a worker keeps memory that it does not need.
"""

import ctypes
import subprocess
import sys

import pytest

from service.memory import configure_allocator

MIB = 1024 * 1024
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


# In a process of its own: what other tests have allocated decides where new blocks are put.
PROGRAM = """
from service.memory import WorkerMemory, resident_bytes

sizes = []
memory = WorkerMemory(sizes.append)
memory.look()
# Larger than pools of Python, smaller than what the C library maps on its own.
blocks = [bytes(20_000) for _ in range(3_000)]
memory.look()
for number in range(len(blocks)):
    if number % 10:
        blocks[number] = None
kept = resident_bytes()
memory.look()
print(*sizes, kept)
"""


@LINUX
def test_memory_that_is_free_between_blocks_in_use_is_given_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc")
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    before, most, after, kept = map(int, done.stdout.split())
    assert most - before > 40 * MIB
    assert after - before < (most - before) / 2
    assert after <= kept


def test_a_setting_of_the_operator_for_the_allocator_stays() -> None:
    own, empty = {"_RJEM_MALLOC_CONF": "narenas:1"}, dict[str, str]()

    configure_allocator(own)
    configure_allocator(empty)

    assert {"_RJEM_MALLOC_CONF": "narenas:1"} == own
    assert "background_thread:true" in empty["_RJEM_MALLOC_CONF"]
