"""
The memory of a worker is measured, and given back.

If these tests fail: after an attack or a peak of load a worker keeps memory that it does not need.
"""

import ctypes
import sys

import pytest

from service.memory import WorkerMemory, configure_allocator, resident_bytes

MIB = 1024 * 1024
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


@LINUX
def test_memory_that_is_free_between_blocks_in_use_is_given_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc")
    sizes: list[int] = []
    memory = WorkerMemory(sizes.append)
    memory.look()
    # Larger than pools of Python, smaller than what the C library maps on its own.
    blocks: list[bytes | None] = [bytes(20_000) for _ in range(3_000)]
    memory.look()
    for number in range(len(blocks)):
        if number % 10:
            blocks[number] = None
    kept = resident_bytes()
    memory.look()

    before, most, after = sizes
    assert kept is not None
    assert most - before > 40 * MIB
    assert after - before < (most - before) / 2
    assert after <= kept


def test_a_setting_of_the_operator_for_the_allocator_stays() -> None:
    own, empty = {"_RJEM_MALLOC_CONF": "narenas:1"}, dict[str, str]()

    configure_allocator(own)
    configure_allocator(empty)

    assert {"_RJEM_MALLOC_CONF": "narenas:1"} == own
    assert "background_thread:true" in empty["_RJEM_MALLOC_CONF"]
