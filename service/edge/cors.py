"""What browsers ask before they let a page send events, and want on every answer after."""

from typing import Final

from service.edge.replies import Header, Reply

# Named one by one: a wildcard would not cover Authorization. The list is what the SDKs send.
_ALLOWED_HEADERS: Final = (
    "authorization, content-type, content-encoding, x-api-key, x-write-key, x-event-schema-version,"
    " x-retry-count, anonymousid, sentat, rsa-retry-attempt, rsa-since-last-attempt,"
    " rsa-since-first-attempt, rsa-retry-reason, x-enable-debug, x-ip-policy, traceparent"
)
_MAX_AGE_S: Final = 86_400


class Cors:
    """Lets pages of the configured origins send events. Never with credentials."""

    def __init__(self, origins: frozenset[str]) -> None:
        """*origins* may hold `*`; empty: no page may."""
        self._is_open = "*" in origins
        self._origins = {origin.encode("latin-1") for origin in origins}

    def headers(self, origin: bytes | None) -> tuple[Header, ...]:
        """Return what an answer carries for a page of *origin*."""
        if origin is None:
            return ()
        if self._is_open:
            allowed: tuple[Header, ...] = ((b"access-control-allow-origin", b"*"),)
        elif origin in self._origins:
            allowed = ((b"access-control-allow-origin", origin), (b"vary", b"Origin"))
        else:
            return ((b"vary", b"Origin"),)
        return (*allowed, (b"access-control-expose-headers", b"Retry-After, X-Request-Id"))

    def preflight(self) -> Reply:
        """Return the answer to the question before the request."""
        return Reply(
            204,
            b"",
            (
                (b"access-control-allow-methods", b"POST, OPTIONS"),
                (b"access-control-allow-headers", _ALLOWED_HEADERS.encode("ascii")),
                (b"access-control-max-age", b"%d" % _MAX_AGE_S),
            ),
        )
