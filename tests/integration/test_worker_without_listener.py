"""
A worker whose connection that listens for changed keys is lost.

If these tests fail: senders get 503 because a listener is lost, or a revoked key is accepted for
longer than its TTL.
"""

import json
from typing import Any

from tests.acceptance.proxy import proxied
from tests.acceptance.running import until
from tests.integration.in_process import StartWorker, listener

TTL_S = 0.5


async def test_without_a_listener_a_worker_is_ready_and_a_revocation_counts_after_the_ttl(
    start_worker: StartWorker, database_url: str, connection: Any
) -> None:
    async with proxied(database_url) as proxy:
        sending = await start_worker(proxy.url, key_cache_ttl_s=TTL_S)
        await sending.send()
        assert 200 == (await sending.get("/health/ready")).status

        pid = await listener(connection)
        proxy.connections_left = 0  # the connections of the pool stay open
        await connection.execute("SELECT pg_terminate_backend($1)", pid)

        async def is_down() -> bool:
            report = json.loads((await sending.get("/health")).body)
            return bool(report["background"]["key_changes"].get("restarts", 0) > 1)

        await until(is_down, 10, "the listener has tried in vain to connect")
        assert 200 == (await sending.get("/health/ready")).status
        await sending.send()
        await connection.execute("UPDATE api_keys SET revoked_at = now()")

        async def is_refused() -> bool:
            return (await sending.post()).status == 401

        await until(is_refused, 5 * TTL_S, "the key is refused")


async def test_a_worker_starts_without_a_listener(
    start_worker: StartWorker, database_url: str
) -> None:
    """A start needs one connection; the supervisor opens that of the listener later."""
    async with proxied(database_url) as proxy:
        proxy.connections_left = 1

        sending = await start_worker(proxy.url, flushes_max=1)

        assert 200 == (await sending.get("/health/ready")).status
