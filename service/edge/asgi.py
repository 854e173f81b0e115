"""The raw ASGI callable: method and path to endpoint. The only user of scope, receive and send."""

import asyncio
import re
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
from service.edge.ingest import Ingest, RequestId
from service.edge.probes import Probes
from service.edge.replies import Header, Reply
from service.edge.request import Headers, Receive, Scope, Send, require_one_meaning
from service.model import EVENT_TYPES
from service.reasons import Reason, Refusal

log = structlog.get_logger()

_BATCH: Final = "batch"
_ENDS_OF_THE_WORKER: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
# Only what has this form is logged: somebody will put a key there one day, as anywhere.
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = self._clock.monotonic()
        request_id = RequestId(*self._take_request_id())
        method = scope["method"]
        route = self._routes.get(scope["path"])
        access = Access(
            request_id=request_id.text,
            method=method if method in _METHODS else "other",
            endpoint="unknown" if route is None else route.endpoint,
        )
        reply, extra = await self._answer(route, scope, receive, request_id, access)
        is_head = method == "HEAD"
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [
                    *reply.headers,
                    *extra,
                    (b"content-length", b"%d" % len(reply.body)),
                    (b"x-request-id", request_id.text.encode("ascii")),
                ],
            }
        )
        await send({"type": "http.response.body", "body": b"" if is_head else reply.body})
        duration_s = self._clock.monotonic() - started
        self._access_log.answered(access, reply.status, reply.code, duration_s)

    async def _answer(
        self,
        route: _Route | None,
        scope: Scope,
        receive: Receive,
        request_id: RequestId,
        access: Access,
    ) -> tuple[Reply, tuple[Header, ...]]:
        headers: Headers = dict(scope["headers"])
        is_ingest = isinstance(route, _Ingested)
        extra = self._cors.headers(headers.get(b"origin")) if is_ingest else ()
        inbound = Inbound(headers, receive)
        try:
            return await self._reply(route, scope, inbound, request_id, access), extra
        except Refusal as caught:
            await inbound.discard()
            refusal = caught
        except ClientGoneError:
            # Nobody listens; the server still wants an answer to close the exchange with.
            refusal = Refusal(Reason.INVALID_REQUEST, "The body ended before it was whole.")
        except _ENDS_OF_THE_WORKER:
            raise
        except BaseException:  # a panic of the core is no Exception; it costs its own request
            log.exception("request_failed", request_id=request_id.text)
            refusal = Refusal(Reason.INTERNAL_ERROR)
        return replies.refused(request_id.text, refusal), extra

    async def _reply(
        self,
        route: _Route | None,
        scope: Scope,
        inbound: Inbound,
        request_id: RequestId,
        access: Access,
    ) -> Reply:
        method = scope["method"]
        if route is None:
            raise Refusal(Reason.NOT_FOUND)
        if method not in route.methods:
            raise _method_refused(method, route.methods)
        if isinstance(route, _Reported):
            return await route.report()
        if method == "OPTIONS":
            return self._cors.preflight()
        require_one_meaning(inbound.headers, scope["headers"])
        access.traceparent = _traceparent(inbound.headers.get(b"traceparent"))
        return await self._ingest.answer(route.event_type, request_id, inbound, access)


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


def _traceparent(value: bytes | None) -> str | None:
    if value is None or not _TRACEPARENT.fullmatch(value):
        return None
    return value.decode("ascii")
