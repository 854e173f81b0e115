"""The paths of the service. The names of their endpoints are a closed set, for metrics and logs."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from service.edge.key_text import SETTINGS_PATH
from service.edge.probes import Probes
from service.edge.replies import Reply
from service.edge.request import HttpRequest
from service.edge.sdk_documents import SdkDocuments, client_metrics
from service.model import EVENT_TYPES

UNKNOWN: Final = "unknown"
"""The endpoint of a path that does not exist."""
METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS")
"""The methods that some path allows."""
_POST: Final = ("POST", "OPTIONS")
_GET: Final = ("GET", "HEAD", "OPTIONS")


class IngestRoute(msgspec.Struct, frozen=True):
    """
    A path that accepts events; *event_type* is None for a batch.

    `has_query_key`: the SDK that uses this path can put the key only into the URL.
    """

    endpoint: str
    event_type: str | None
    has_query_key: bool = False
    methods: tuple[str, ...] = _POST


class PlainRoute(msgspec.Struct, frozen=True):
    """
    A path without events; *answer* makes the answer to a request with an allowed method.

    `is_limited`: `FOREBAY_REQUESTS_MAX` applies, because the answer may have to wait.
    """

    endpoint: str
    answer: Callable[[HttpRequest], Awaitable[Reply]]
    methods: tuple[str, ...] = _GET
    is_limited: bool = False


Route = IngestRoute | PlainRoute


class Routes(dict[str, Route | None]):
    """The routes by path: `routes[path]` is None if the path does not exist."""

    def __init__(self, probes: Probes, documents: SdkDocuments) -> None:
        super().__init__()
        self._settings = PlainRoute("settings", documents.settings, is_limited=True)
        self["/"] = PlainRoute("index", _report(probes.index))
        self["/health"] = PlainRoute("health", _report(probes.health))
        self["/health/live"] = PlainRoute("health_live", _report(probes.live))
        self["/health/ready"] = PlainRoute("health_ready", _report(probes.ready))
        for event_type in EVENT_TYPES:
            self._add(IngestRoute(event_type, event_type), *_event_paths(event_type))
        self._add(IngestRoute("batch", None), "/v1/batch", "/v1/import", "/v1/b")
        self._add(IngestRoute("beacon", None, has_query_key=True), "/beacon/v1/batch")
        self._add(PlainRoute("client_metrics", client_metrics, _POST, is_limited=True), "/v1/m")
        source_config = PlainRoute("source_config", documents.source_config, is_limited=True)
        self._add(source_config, "/sourceConfig")

    def __missing__(self, path: str) -> Route | None:
        """Return the route of a path with a key in it."""
        return self._settings if SETTINGS_PATH.fullmatch(path) else None

    def _add(self, route: Route, *paths: str) -> None:
        for path in paths:
            # With and without a slash: after a redirect, SDKs send a GET and lose the events.
            self[path] = self[f"{path}/"] = route


def _event_paths(event_type: str) -> tuple[str, ...]:
    """Return the paths for one type: of most SDKs, of Segment's for browsers, and of Jitsu's."""
    return (
        f"/v1/{event_type}",
        f"/v1/{event_type[0]}",
        f"/api/s/{event_type}",
        f"/api/s/s2s/{event_type}",
    )


def _report(
    report: Callable[[], Awaitable[Reply]],
) -> Callable[[HttpRequest], Awaitable[Reply]]:
    return lambda _: report()
