"""
Large bodies wait for their turn to be scanned.

If these tests fail: many large bodies delay all other requests, or requests are refused only
because they arrive together.
"""

import asyncio
import json

from tests.unit.edge.client import EdgeBench

BODY = json.dumps({"type": "track", "event": "e", "properties": {"x": "y" * 40_000}}).encode()
# The first two are scanned in one iteration of the loop, and one that waits has room in memory.
BODIES = 4


async def test_large_bodies_take_turns_and_none_is_refused_for_want_of_room() -> None:
    bench = EdgeBench(bytes_max=100_000)

    answers = await asyncio.gather(*(bench.post("/v1/track", BODY) for _ in range(BODIES)))

    assert [200] * BODIES == [answer.status for answer in answers]
    assert (1, 0) == (bench.scan_waits, bench.bodies.held_bytes)


async def test_small_bodies_do_not_wait() -> None:
    bench = EdgeBench()

    await asyncio.gather(*(bench.post("/v1/track", {"event": "e"}) for _ in range(50)))

    assert 0 == bench.scan_waits
