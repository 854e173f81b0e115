"""
The store in memory, which other tests use, compared with the store on PostgreSQL.

If these tests fail: other tests pass although senders get other answers from the real store.
"""

import random
import time

from tests.doubles import MemoryStore, Sender, make_event, make_key
from tests.integration.conftest import Database, StoreBench


async def test_both_stores_give_the_same_verdicts_and_keep_the_same_rows(
    store: StoreBench, database: Database
) -> None:
    chance = random.Random(11)
    memory = MemoryStore()
    senders = [
        Sender(make_key(tenant_id=tenant, workspace_id=workspace))
        for tenant in (1, 2)
        for workspace in (1, 2)
    ]

    for _ in range(25):
        payloads = [
            chance.choice(senders).payload(
                *(
                    make_event(f"e{chance.randrange(40)}", plan=chance.choice(("free", "pro")))
                    for _ in range(chance.randint(1, 6))
                )
            )
            for _ in range(chance.randint(1, 4))
        ]
        deadline = time.monotonic() + 20

        assert await memory.write(payloads, deadline) == await store.write(*payloads)

    stored = [row["id"] for row in await database.events()]
    assert sorted(row.id for row in memory.events) == stored
    quarantined = [(row["id"], row["code"]) for row in await database.rejected()]
    assert sorted((row.id, row.code) for row in memory.rejected) == quarantined
