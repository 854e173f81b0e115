"""The ASGI application: passes requests to the pipeline, and sends the answers."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from service.clock import Clock
from service.edge import replies
from service.edge.access import AccessLog
from service.edge.body_budget import BodyBudget
from service.edge.cors import Cors
from service.edge.in_progress import RequestsInProgress
from service.edge.key_text import key_of_request
from service.edge.replies import Reply
from service.edge.request import (
    ClientGoneError,
    HttpRequest,
    Receive,
    RequestBody,
    Scope,
    Send,
    body_deadlines,
    reject_ambiguous_headers,
)
from service.edge.routes import METHODS, UNKNOWN, IngestRoute, Route, Routes
from service.edge.unauthorized import UnauthorizedPace
from service.model import WorkerState
from service.pipeline.ingest import Ingest, Request
from service.reasons import Reason, RefusedError

log = structlog.get_logger()

_ENDS_OF_THE_WORKER: Final = (
    asyncio.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
)
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
)
# A preflight request has this header.
_ASKED_METHOD: Final = b"access-control-request-method"
_UNAUTHORIZED: Final = 401
# How long a body may take in any case, also when there is no room for another request.
_BODY_TIME_MIN_S: Final = 1.0


class Edge:
    """Passes requests to the pipeline, and turns every result into an answer."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        ingest: Ingest,
        routes: Routes,
        cors: Cors,
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
        self._routes = routes
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started = self._clock.monotonic()
        number, request_id = self._take_request_id()
        client = scope["client"]
        self._in_progress.clients.add(client)
        route = self._routes[scope["path"]]
        method = scope["method"]
        headers = dict(scope["headers"])
        body = RequestBody(
            headers, receive, self._bodies, self._body_deadlines, self._body_timeout_s
        )
        request = Request(
            id=number,
            id_text=request_id,
            method=method if method in _METHODS else "other",
            endpoint=UNKNOWN if route is None else route.endpoint,
            body=body,
        )
        try:
            if isinstance(route, IngestRoute) and method == "POST":
                if len(self._in_progress.clients) > self._in_progress.requests_max:
                    self._in_progress.make_room(client, self._end_slowest_body)
                reject_ambiguous_headers(headers, scope["headers"], body.length)
                request.event_type = route.event_type
                request.key_text = key_of_request(
                    headers, scope["query_string"] if route.has_query_key else b""
                )
                request.schema_version_text = headers.get(b"x-event-schema-version")
                request.traceparent = headers.get(b"traceparent")
                reply = replies.processed(request, await self._ingest.process(request))
            else:
                reply = await self._answer(route, HttpRequest(scope, headers, body))
        except BaseException as error:  # noqa: BLE001 - a panic of the core is a BaseException
            reply = await self._refused(error, body, request)
        finally:
            self._in_progress.clients.discard(client)
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
        if origin is not None:
            answer_headers += self._cors.headers(origin)
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": answer_headers}
        )
        content = b"" if method == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": content})
        duration_s = self._clock.monotonic() - started
        self._access_log.answered(request, reply.status, reply.code, duration_s)

    def hurry(self, body_timeout_s: float) -> None:
        """Give bodies less time from now on, because the worker stops."""
        self._body_timeout_s = min(self._body_timeout_s, body_timeout_s)
        self._body_deadlines.bring_forward(time.monotonic() + body_timeout_s)

    def _end_slowest_body(self) -> bool:
        latest = time.monotonic() + self._body_timeout_s - _BODY_TIME_MIN_S
        return self._body_deadlines.exceed_first(latest)

    async def _answer(self, route: Route | None, request: HttpRequest) -> Reply:
        """Answer a request without events."""
        method = request.scope["method"]
        if method == "OPTIONS" and (route is not None or _ASKED_METHOD in request.headers):
            # For an unknown path too: otherwise the browser hides the answer 404 from the page.
            return self._cors.preflight(METHODS if route is None else route.methods)
        if route is None:
            raise RefusedError(Reason.NOT_FOUND)
        if method not in route.methods or isinstance(route, IngestRoute):
            raise _method_not_allowed(method, route.methods)
        if route.is_limited and len(self._in_progress.clients) > self._in_progress.requests_max:
            self._in_progress.make_room(request.scope["client"], self._end_slowest_body)
        return await route.answer(request)

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


def _method_not_allowed(method: str, allowed: tuple[str, ...]) -> RefusedError:
    allow = ", ".join(allowed)
    return RefusedError(
        Reason.METHOD_NOT_ALLOWED,
        f"{method} is not allowed here; allowed: {allow}.",
        allow=allow,
    )
