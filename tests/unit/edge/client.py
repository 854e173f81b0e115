"""A client of the edge without a network: the real edge and pipeline with a store in memory."""

import asyncio
import itertools
import json
from collections.abc import Callable, MutableMapping
from mmap import mmap
from typing import Any, Final

import msgspec

from service.apikey import MintedKey, mint
from service.edge.access import AccessLog
from service.edge.addresses import AddressGroups
from service.edge.asgi import Edge
from service.edge.body_budget import BodyBudget
from service.edge.cors import Cors
from service.edge.in_progress import RequestsInProgress
from service.edge.probes import DatabaseReport, Probes
from service.edge.public_url import PublicUrls
from service.edge.request import Receive
from service.edge.routes import Routes
from service.edge.sdk_documents import SdkDocuments
from service.edge.unauthorized import UnauthorizedLimits, UnauthorizedPace
from service.model import ApiKey, Limits, WorkerState
from service.obs import key_labels
from service.obs.key_labels import KeyLabels
from service.obs.metrics import Metrics
from service.pipeline.batcher import Batcher
from service.pipeline.check import Checker, random_row_ids
from service.pipeline.ingest import Ingest, IngestConfig
from service.pipeline.quarantine import QuarantineBudget
from service.pipeline.queue import QueueLimits
from service.pipeline.rate_limits import MEMORY_BYTES, RateLimits
from service.pipeline.rejects import Rejects
from service.pipeline.turns import ScanTurns
from service.setting_values import networks
from tests.doubles import FixedClock, MemoryStore, make_key, quarantine_limits
from tests.unit.pipeline.key_rings import Outage, ring

Headers = list[tuple[bytes, bytes]]
_PORTS = itertools.count(1024)

UNLIMITED: Final = UnauthorizedLimits(per_second=1_000_000, delay_max_s=0, delayed_max=0)


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


class EdgeBench:
    """An edge with one key, and the objects that it uses."""

    def __init__(
        self,
        checker: type[Checker] = Checker,
        store: MemoryStore | None = None,
        unauthorized: UnauthorizedLimits = UNLIMITED,
        rate_setting: int = 0,
        **key_fields: Any,
    ) -> None:
        """*rate_setting*: events per second, unless *key_fields* has another limit."""
        self._rate_setting = rate_setting
        self.clock = FixedClock()
        self.minted: MintedKey = mint()
        self.key: ApiKey = make_key(self.minted, **key_fields)
        self.table = Outage(self.key)
        self.keys = ring(self.table, self.clock, keys_max=10)
        self.store = MemoryStore() if store is None else store
        self.state = WorkerState()
        self.database = DatabaseReport("ok", latency_ms=1.0)
        budget = QuarantineBudget(
            self.clock, quarantine_limits(rows_per_minute=100), lambda _: None
        )
        self.is_quarantine_full = False
        self.checker = checker(budget, random_row_ids(), 0)
        self.requests = self.delayed = 0
        self.bodies = BodyBudget(100_000, 2_000, lambda _: None)
        probes = Probes(
            database=lambda: self.database,
            background=dict,
            is_quarantine_full=lambda: self.is_quarantine_full,
            state=self.state,
            version="1.2.3",
        )
        urls = PublicUrls("", AddressGroups(networks("127.0.0.1")))
        self.edge = Edge(
            ingest=self._ingest(),
            routes=Routes(probes, SdkDocuments(self.keys, urls)),
            cors=Cors(frozenset({"https://shop.example"})),
            access_log=AccessLog(Metrics(), is_on=True),
            in_progress=RequestsInProgress(100, lambda: None),
            unauthorized=UnauthorizedPace(unauthorized, self.clock, self._delay),
            bodies=self.bodies,
            clock=self.clock,
            state=self.state,
            body_timeout_s=5,
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
        """Send a request to *path*, with its query; *messages* are the ASGI ones of its body."""
        return await ask(self.edge, method, path, body, headers, messages)

    async def post(self, path: str, content: Any, *headers: tuple[bytes, bytes]) -> Answer:
        """Send *content* as JSON with the key."""
        authorization = (b"authorization", b"Bearer " + self.minted.text.encode())
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        return await self.ask("POST", path, body, [authorization, *headers])

    async def post_slowly(self, path: str, body: bytes, meanwhile: Callable[[], None]) -> Answer:
        """Send *body* with the key; call *meanwhile* between the headers and the body."""

        async def receive() -> MutableMapping[str, Any]:
            meanwhile()
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [(b"authorization", b"Bearer " + self.minted.text.encode())]
        return await _exchange(self.edge, "POST", path, headers, receive)

    def _ingest(self) -> Ingest:
        limits = QueueLimits(
            queue_rows_max=1_000,
            queue_bytes_max=1_000_000,
            batch_rows_max=100,
            batch_bytes_max=1_000_000,
        )
        return Ingest(
            keys=self.keys,
            rate_limits=RateLimits(mmap(-1, MEMORY_BYTES), self.clock),
            checker=self.checker,
            batcher=Batcher(
                write=self.store.write,
                clock=self.clock,
                limits=limits,
                flushes_max=1,
                timeout_s=5,
            ),
            turns=ScanTurns(65_536, lambda: None),
            rejects=Rejects(
                Metrics(), KeyLabels(memoryview(bytearray(key_labels.MEMORY_BYTES))), self.clock
            ),
            clock=self.clock,
            config=IngestConfig(
                expansion_max=4,
                limits=Limits(bytes_max=2_000, events_max=3, events_per_second=self._rate_setting),
                schema_version_default="1.0",
                schema_versions=frozenset({"1.0", "2.0"}),
            ),
        )

    def _delay(self) -> None:
        self.delayed += 1

    def _take_request_id(self) -> tuple[int, str]:
        self.requests += 1
        return self.requests, f"{self.requests:013}"


async def ask(
    edge: Edge,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Headers | None = None,
    messages: list[MutableMapping[str, Any]] | None = None,
) -> Answer:
    """Send a request to *edge*; *messages* are the ASGI messages of its body."""
    coming = messages or [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if not coming:
            await asyncio.Event().wait()  # the client waits for the answer
        return coming.pop(0)

    return await _exchange(edge, method, path, headers or [], receive)


async def _exchange(
    edge: Edge, method: str, path: str, headers: Headers, receive: Receive
) -> Answer:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": headers}
    scope |= {"query_string": query.encode(), "scheme": "http"}
    scope["client"] = ("127.0.0.1", str(next(_PORTS)))
    await edge(scope, receive, send)
    start, rest = sent
    return Answer(start["status"], dict(start["headers"]), rest["body"])
