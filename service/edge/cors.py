"""CORS: which pages may send events from a browser, and read the answers."""

from typing import Final

from service.edge.replies import Header, Reply

# Named one by one, because a wildcard does not include Authorization. SDKs send these, and tools
# for tracing add theirs.
_ALLOWED_HEADERS: Final = (
    b"authorization, content-type, content-encoding, x-api-key, x-write-key,"
    b" x-event-schema-version, x-retry-count, anonymousid, sentat, rsa-retry-attempt,"
    b" rsa-since-last-attempt, rsa-since-first-attempt, rsa-retry-reason, rsa-recovered,"
    b" x-enable-debug, x-ip-policy, traceparent, tracestate, baggage, sentry-trace"
)
_EXPOSED: Final[Header] = (b"access-control-expose-headers", b"Retry-After, X-Request-Id")
_MAX_AGE_S: Final = 86_400


class Cors:
    """Lets pages of the configured origins send events, without credentials."""

    def __init__(self, origins: frozenset[str]) -> None:
        """*origins*: `*` allows all; empty allows none."""
        self._is_open = "*" in origins
        self._origins = {origin.encode("latin-1") for origin in origins}

    def headers(self, origin: bytes) -> tuple[Header, ...]:
        """Return the CORS headers of an answer to a page of *origin*."""
        if self._is_open:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        if origin in self._origins:
            return ((b"access-control-allow-origin", origin), (b"vary", b"Origin"), _EXPOSED)
        return ((b"vary", b"Origin"),)

    def preflight(self, methods: tuple[str, ...]) -> Reply:
        """Return the answer to a preflight request for a path with these *methods*."""
        return Reply(
            204,
            b"",
            (
                (b"access-control-allow-methods", ", ".join(methods).encode("ascii")),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", b"%d" % _MAX_AGE_S),
            ),
        )
