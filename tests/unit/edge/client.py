"""A client of the edge without a network: the real rooms, over a store in memory."""

import json
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec

from service.apikey import MintedKey, mint
from service.edge.access import AccessLog
from service.edge.asgi import Edge
from service.edge.cors import Cors
from service.edge.ingest import Ingest, IngestConfig
from service.edge.keys import KeyRing
from service.edge.probes import DatabaseReport, Probes
from service.model import ApiKey, Limits
from service.obs.metrics import Metrics
from service.pipeline.batcher import Batcher
from service.pipeline.check import Checker
from service.pipeline.quarantine import QuarantineBudget
from service.pipeline.queue import QueueLimits
from service.testing import FixedClock, KeyTable, MemoryStore, make_key

if TYPE_CHECKING:
    from service.supervisor import TaskReport

Headers = list[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


class State:
    """What a worker knows of itself."""

    def __init__(self) -> None:
        self.number: int | None = 7
        self.is_draining = False
        self.background: dict[str, TaskReport] = {}


class EdgeBench:
    """An edge with one key, and everything behind it within reach."""

    def __init__(
        self,
        checker: type[Checker] = Checker,
        store: MemoryStore | None = None,
        **key_fields: Any,
    ) -> None:
        self.clock = FixedClock()
        self.minted: MintedKey = mint()
        self.key: ApiKey = make_key(self.minted, **key_fields)
        self.table = KeyTable(self.key)
        self.store = MemoryStore() if store is None else store
        self.state = State()
        self.database = DatabaseReport("ok", latency_ms=1.0)
        self.checker = checker(QuarantineBudget(self.clock, 100, lambda _: None))
        self.checker.lease(7)
        self.requests = 0
        self.edge = Edge(
            ingest=self._ingest(),
            probes=Probes(database=self._report, state=self.state, version="1.2.3"),
            cors=Cors(frozenset({"https://shop.example"})),
            access_log=AccessLog(Metrics(), is_on=True),
            clock=self.clock,
            take_request_id=self._take_request_id,
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
        messages: list[MutableMapping[str, Any]] | None = None,
    ) -> Answer:
        """Send a request; *messages* are its body, message by message."""
        coming = messages or [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return coming.pop(0)

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": headers or []}
        await self.edge(scope, receive, send)
        start, rest = sent
        return Answer(start["status"], dict(start["headers"]), rest["body"])

    async def post(self, path: str, content: Any, *headers: tuple[bytes, bytes]) -> Answer:
        """Send *content* as JSON with the key."""
        authorization = (b"authorization", b"Bearer " + self.minted.text.encode())
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        return await self.ask("POST", path, body, [authorization, *headers])

    def _ingest(self) -> Ingest:
        limits = QueueLimits(
            queue_rows_max=1_000,
            queue_bytes_max=1_000_000,
            batch_rows_max=100,
            batch_bytes_max=1_000_000,
        )
        return Ingest(
            keys=KeyRing(self.table.find, self.clock, ttl_s=30, keys_max=10),
            checker=self.checker,
            batcher=Batcher(
                write=self.store.write,
                clock=self.clock,
                limits=limits,
                flushes_max=1,
                timeout_s=5,
            ),
            clock=self.clock,
            config=IngestConfig(
                limits=Limits(bytes_max=2_000, events_max=3),
                body_timeout_s=5,
                schema_version_default="1.0",
                schema_versions=frozenset({"1.0", "2.0"}),
            ),
        )

    def _report(self) -> DatabaseReport:
        return self.database

    def _take_request_id(self) -> tuple[int, str]:
        self.requests += 1
        return self.requests, f"{self.requests:013}"
