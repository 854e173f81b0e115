"""The ASGI application: routes, requests to the pipeline, answers, CORS."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from service.clock import Clock
from service.edge import replies
from service.edge.access import AccessLog
from service.edge.body_budget import BodyBudget
from service.edge.in_progress import RequestsInProgress
from service.edge.probes import Probes
from service.edge.replies import Header, Reply
from service.edge.request import (
    ClientGoneError,
    Receive,
    RequestBody,
    Scope,
    Send,
    body_deadlines,
    key_text,
    reject_ambiguous_headers,
)
from service.edge.unauthorized import UnauthorizedPace
from service.model import EVENT_TYPES, WorkerState
from service.pipeline.ingest import Ingest, Request
from service.reasons import Reason, RefusedError

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
# Named one by one, because a wildcard does not include Authorization. SDKs send these.
_CORS_HEADERS: Final = (
    b"authorization, content-type, content-encoding, x-api-key, x-write-key,"
    b" x-event-schema-version, x-retry-count, anonymousid, sentat, rsa-retry-attempt,"
    b" rsa-since-last-attempt, rsa-since-first-attempt, rsa-retry-reason,"
    b" x-enable-debug, x-ip-policy, traceparent"
)
_CORS_MAX_AGE_S: Final = 86_400
_UNAUTHORIZED: Final = 401
# How long a body may take in any case, also when there is no room for another request.
_BODY_TIME_MIN_S: Final = 1.0


class _IngestRoute(msgspec.Struct, frozen=True):
    """A path that accepts events; *event_type* is None for a batch."""

    endpoint: str
    event_type: str | None
    methods: tuple[str, ...] = ("POST", "OPTIONS")


class _ReportRoute(msgspec.Struct, frozen=True):
    """A path that reports the state of the service."""

    endpoint: str
    report: Callable[[], Awaitable[Reply]]
    methods: tuple[str, ...] = ("GET", "HEAD")


_Route = _IngestRoute | _ReportRoute


class Edge:
    """Passes requests to the pipeline, and turns every result into an answer."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        ingest: Ingest,
        probes: Probes,
        cors: "Cors",
        access_log: AccessLog,
        in_progress: RequestsInProgress,
        unauthorized: UnauthorizedPace,
        bodies: BodyBudget,
        clock: Clock,
        state: WorkerState,
        body_timeout_s: float,
        take_request_id: Callable[[], tuple[int, str]],
    ) -> None:
        """*take_request_id* returns a new id, as a number and as text."""
        self._ingest = ingest
        self._cors = cors
        self._access_log = access_log
        self._in_progress = in_progress
        self._unauthorized = unauthorized
        self._bodies = bodies
        self._clock = clock
        self._state = state
        self._body_deadlines = body_deadlines()
        self._body_timeout_s = body_timeout_s
        self._take_request_id = take_request_id
        self._routes = _routes(probes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = self._clock.monotonic()
        number, request_id = self._take_request_id()
        client = scope["client"]
        self._in_progress.clients.add(client)
        route = self._routes.get(scope["path"])
        method = scope["method"]
        headers = dict(scope["headers"])
        body = RequestBody(
            headers, receive, self._bodies, self._body_deadlines, self._body_timeout_s
        )
        request = Request(
            id=number,
            id_text=request_id,
            method=method if method in _METHODS else "other",
            endpoint="unknown" if route is None else route.endpoint,
            body=body,
        )
        try:
            if isinstance(route, _IngestRoute) and method == "POST":
                if len(self._in_progress.clients) > self._in_progress.requests_max:
                    self._in_progress.make_room(client, self._end_slowest_body)
                reject_ambiguous_headers(headers, scope["headers"], body.length)
                request.event_type = route.event_type
                request.key_text = key_text(headers)
                request.schema_version_text = headers.get(b"x-event-schema-version")
                request.traceparent = headers.get(b"traceparent")
                reply = replies.processed(request, await self._ingest.process(request))
            else:
                reply = await self._report(route, method)
        except BaseException as error:  # noqa: BLE001 - a panic of the core is a BaseException
            reply = await self._refused(error, body, request)
        finally:
            self._in_progress.clients.discard(client)
            self._ingest.end(request)
        if reply.status == _UNAUTHORIZED and not self._state.is_draining:
            # Here, where nothing refers to the bytes of the body any more. Without its client a
            # request ends at once: the HTTP server limits the number of requests.
            await self._unauthorized.wait(body.until_client_is_gone)
        answer_headers = [
            *reply.headers,
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", request_id.encode("ascii")),
        ]
        if self._state.is_leaving:
            answer_headers.append((b"connection", b"close"))
        origin = headers.get(b"origin")
        if origin is not None and isinstance(route, _IngestRoute):
            answer_headers += self._cors.headers(origin)
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": answer_headers}
        )
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})
        duration_s = self._clock.monotonic() - started
        self._access_log.answered(request, reply.status, reply.code, duration_s)

    def hurry(self, body_timeout_s: float) -> None:
        """Give bodies less time from now on, because the worker stops."""
        self._body_timeout_s = min(self._body_timeout_s, body_timeout_s)
        self._body_deadlines.bring_forward(time.monotonic() + body_timeout_s)

    def _end_slowest_body(self) -> bool:
        latest = time.monotonic() + self._body_timeout_s - _BODY_TIME_MIN_S
        return self._body_deadlines.exceed_first(latest)

    async def _report(self, route: _Route | None, method: str) -> Reply:
        """Answer a request without events."""
        if route is None:
            raise RefusedError(Reason.NOT_FOUND)
        if method not in route.methods:
            raise _method_not_allowed(method, route.methods)
        if isinstance(route, _IngestRoute):
            return self._cors.preflight()
        return await route.report()

    async def _refused(self, error: BaseException, body: RequestBody, request: Request) -> Reply:
        """Return the answer to a request that failed. Other requests are not affected."""
        if isinstance(error, _ENDS_OF_THE_WORKER):
            raise error
        if isinstance(error, RefusedError):
            # The frames of its traceback hold the body, which must not stay in memory meanwhile.
            error.__traceback__ = error.__context__ = None
            self._ingest.refused(request, error)
            await body.discard()
            refusal = error
        elif isinstance(error, ClientGoneError):
            # The client is gone, but Granian needs an answer to end the request.
            refusal = RefusedError(Reason.INVALID_REQUEST, "The body ended before it was complete.")
        else:
            log.error("request_failed", request_id=request.id_text, exc_info=error)
            refusal = RefusedError(Reason.INTERNAL_ERROR)
        return replies.refused(request.id_text, refusal)


class Cors:
    """Lets pages of the configured origins send events, without credentials."""

    def __init__(self, origins: frozenset[str]) -> None:
        """*origins*: `*` allows all; empty allows none."""
        self._is_open = "*" in origins
        self._origins = {origin.encode("latin-1") for origin in origins}

    def headers(self, origin: bytes) -> tuple[Header, ...]:
        """Return the CORS headers of an answer to a page of *origin*."""
        if self._is_open:
            allowed: tuple[Header, ...] = ((b"access-control-allow-origin", b"*"),)
        elif origin in self._origins:
            allowed = ((b"access-control-allow-origin", origin), (b"vary", b"Origin"))
        else:
            return ((b"vary", b"Origin"),)
        return (*allowed, (b"access-control-expose-headers", b"Retry-After, X-Request-Id"))

    def preflight(self) -> Reply:
        """Return the answer to a preflight request."""
        return Reply(
            204,
            b"",
            (
                (b"access-control-allow-methods", b"POST, OPTIONS"),
                (b"access-control-allow-headers", _CORS_HEADERS),
                (b"access-control-max-age", b"%d" % _CORS_MAX_AGE_S),
            ),
        )


def _routes(probes: Probes) -> dict[str, _Route]:
    routes: dict[str, _Route] = {
        "/": _ReportRoute("index", probes.index),
        "/health": _ReportRoute("health", probes.health),
        "/health/live": _ReportRoute("health_live", probes.live),
        "/health/ready": _ReportRoute("health_ready", probes.ready),
    }
    for name in (*EVENT_TYPES, _BATCH):
        route = _IngestRoute(name, None if name == _BATCH else name)
        # With and without a slash: after a redirect, SDKs send a GET and lose the events.
        routes[f"/v1/{name}"] = routes[f"/v1/{name}/"] = route
    return routes


def _method_not_allowed(method: str, allowed: tuple[str, ...]) -> RefusedError:
    allow = ", ".join(allowed)
    return RefusedError(
        Reason.METHOD_NOT_ALLOWED,
        f"{method} is not allowed here; allowed: {allow}.",
        allow=allow,
    )
