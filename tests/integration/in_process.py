"""A worker in the process of the test, with a clock that the test sets."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from provision.keys import NewKey
from service.app import Worker
from service.edge.asgi import Edge
from tests.acceptance.running import until
from tests.doubles import FixedClock
from tests.unit.edge.client import Answer, ask


class SteppedClock(FixedClock):
    """A wall clock that only a test changes; the monotonic clock is that of the system."""

    monotonic = staticmethod(time.monotonic)


class Sending:
    """Sends requests to a worker with the key of one tenant."""

    def __init__(self, worker: Worker, edge: Edge, key: NewKey) -> None:
        self.worker = worker
        self._edge = edge
        self._headers = [(b"x-api-key", key.api_key.encode())]

    async def post(self, **members: Any) -> Answer:
        """Send one event; return the response."""
        body = msgspec.json.encode({"event": "Signed Up", "user_id": "u1"} | members)
        return await ask(self._edge, "POST", "/v1/track", body, self._headers)

    async def send(self, **members: Any) -> dict[str, Any]:
        """Send one event, which must be answered with 200; return the decoded body."""
        answer = await self.post(**members)
        assert 200 == answer.status, answer.body
        content: dict[str, Any] = json.loads(answer.body)
        return content

    async def get(self, path: str) -> Answer:
        return await ask(self._edge, "GET", path)


StartWorker = Callable[..., Awaitable[Sending]]


async def listener(connection: Any, other_than: int = 0) -> int:
    """Wait until a session listens for changed keys; return its process id."""

    async def listening() -> int | None:
        pid: int | None = await connection.fetchval(
            "SELECT max(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND datname = current_database() AND pid <> $1",
            other_than,
        )
        return pid

    pid = await until(listening, 10, "a session listens")
    assert pid is not None
    return pid


async def lose_listener(connection: Any) -> None:
    """End the session that listens; return when another session listens."""
    pid = await listener(connection)
    await connection.execute("SELECT pg_terminate_backend($1)", pid)
    await listener(connection, other_than=pid)
