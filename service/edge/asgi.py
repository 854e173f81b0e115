"""The raw ASGI callable: method and path to endpoint. The only user of scope, receive and send."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from service.clock import Clock
from service.edge import replies
from service.edge.access import Access, AccessLog
from service.edge.body import ClientGoneError
from service.edge.cors import Cors
from service.edge.inbound import Inbound
from service.edge.ingest import Ingest
from service.edge.probes import Probes
from service.edge.replies import Reply
from service.edge.request import Receive, Scope, Send, require_one_meaning
from service.model import EVENT_TYPES
from service.reasons import Reason, Refusal

log = structlog.get_logger()

_BATCH: Final = "batch"
_ENDS_OF_THE_WORKER: Final = (
    asyncio.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
)
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
)


class _Ingested(msgspec.Struct, frozen=True):
    """A path that takes events; *event_type* is None for a batch."""

    endpoint: str
    event_type: str | None
    methods: tuple[str, ...] = ("POST", "OPTIONS")


class _Reported(msgspec.Struct, frozen=True):
    """A path that reports."""

    endpoint: str
    report: Callable[[], Awaitable[Reply]]
    methods: tuple[str, ...] = ("GET", "HEAD")


_Route = _Ingested | _Reported


class Edge:
    """Routes requests, and turns whatever comes of them into an answer."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        probes: Probes,
        cors: Cors,
        access_log: AccessLog,
        clock: Clock,
        take_request_id: Callable[[], tuple[int, str]],
    ) -> None:
        self._ingest = ingest
        self._cors = cors
        self._access_log = access_log
        self._clock = clock
        self._take_request_id = take_request_id
        self._routes = _routes(probes)
        self.closes_connections = False
        """True while this worker is being replaced: each answer closes its connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = self._clock.monotonic()
        number, request_id = self._take_request_id()
        route = self._routes.get(scope["path"])
        method = scope["method"]
        access = Access(
            request_id=request_id,
            method=method if method in _METHODS else "other",
            endpoint="unknown" if route is None else route.endpoint,
        )
        inbound = Inbound(dict(scope["headers"]), receive)
        try:
            if isinstance(route, _Ingested) and method == "POST":
                require_one_meaning(inbound.headers, scope["headers"])
                reply = await self._ingest.answer(route.event_type, number, inbound, access)
            else:
                reply = await self._report(route, method)
        except BaseException as error:  # noqa: BLE001 - a panic of the core is no Exception
            reply = await self._refused(error, inbound, request_id)
        headers = [
            *reply.headers,
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", request_id.encode("ascii")),
        ]
        if self.closes_connections:
            headers.append((b"connection", b"close"))
        if isinstance(route, _Ingested):
            headers += self._cors.headers(inbound.headers.get(b"origin"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        body = b"" if method == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})
        duration_s = self._clock.monotonic() - started
        self._access_log.answered(access, reply.status, reply.code, duration_s)

    async def _report(self, route: _Route | None, method: str) -> Reply:
        """Answer a request that brings no events."""
        if route is None:
            raise Refusal(Reason.NOT_FOUND)
        if method not in route.methods:
            raise _method_refused(method, route.methods)
        if isinstance(route, _Ingested):
            return self._cors.preflight()
        return await route.report()

    async def _refused(self, error: BaseException, inbound: Inbound, request_id: str) -> Reply:
        """Return the answer to a request that was given up; it costs nobody else anything."""
        if isinstance(error, _ENDS_OF_THE_WORKER):
            raise error
        if isinstance(error, Refusal):
            await inbound.discard()
            refusal = error
        elif isinstance(error, ClientGoneError):
            # Nobody listens; the server still wants an answer to close the exchange with.
            refusal = Refusal(Reason.INVALID_REQUEST, "The body ended before it was whole.")
        else:
            log.error("request_failed", request_id=request_id, exc_info=error)
            refusal = Refusal(Reason.INTERNAL_ERROR)
        return replies.refused(request_id, refusal)


def _routes(probes: Probes) -> dict[str, _Route]:
    routes: dict[str, _Route] = {
        "/": _Reported("index", probes.index),
        "/health": _Reported("health", probes.health),
        "/health/live": _Reported("health_live", probes.live),
        "/health/ready": _Reported("health_ready", probes.ready),
    }
    for name in (*EVENT_TYPES, _BATCH):
        route = _Ingested(name, None if name == _BATCH else name)
        # Both served directly: a redirect would turn the SDKs' POST into a GET, and lose it.
        routes[f"/v1/{name}"] = routes[f"/v1/{name}/"] = route
    return routes


def _method_refused(method: str, allowed: tuple[str, ...]) -> Refusal:
    allow = ", ".join(allowed)
    return Refusal(
        Reason.METHOD_NOT_ALLOWED,
        f"{method} is not allowed here; allowed: {allow}.",
        allow=allow,
    )
