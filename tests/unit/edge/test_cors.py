"""
CORS: pages of the configured origins may send events, without credentials.

If these tests fail: browsers refuse to send events, or pages of any origin can send them.
"""

import pytest

from service.edge.cors import Cors

PAGE = b"https://shop.example"
# By the browser SDKs of Segment, RudderStack and Jitsu, and by tools for tracing.
SENT = (
    "authorization content-type content-encoding x-api-key x-write-key x-event-schema-version"
    " x-retry-count anonymousid sentat rsa-retry-attempt rsa-since-last-attempt"
    " rsa-since-first-attempt rsa-retry-reason rsa-recovered x-enable-debug x-ip-policy"
    " traceparent tracestate baggage sentry-trace"
)
EXPOSED = (b"access-control-expose-headers", b"Retry-After, X-Request-Id")


def test_a_star_allows_every_origin() -> None:
    expected = ((b"access-control-allow-origin", b"*"), EXPOSED)

    assert expected == Cors(frozenset({"*"})).headers(PAGE)


def test_a_configured_origin_is_named_in_the_answer() -> None:
    cors = Cors(frozenset({"https://shop.example", "https://other.example"}))

    expected = ((b"access-control-allow-origin", PAGE), (b"vary", b"Origin"), EXPOSED)
    assert expected == cors.headers(PAGE)


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b"http://shop.example", b""])
def test_another_origin_is_not_allowed(origin: bytes) -> None:
    cors = Cors(frozenset({"https://shop.example"}))

    assert ((b"vary", b"Origin"),) == cors.headers(origin)


def test_without_origins_no_page_may_send() -> None:
    assert ((b"vary", b"Origin"),) == Cors(frozenset()).headers(PAGE)


def test_a_preflight_names_every_header_that_an_sdk_sends() -> None:
    reply = Cors(frozenset({"*"})).preflight(("POST", "OPTIONS"))
    headers = dict(reply.headers)
    allowed = headers[b"access-control-allow-headers"].split(b", ")

    assert (204, b"") == (reply.status, reply.body)
    assert b"POST, OPTIONS" == headers[b"access-control-allow-methods"]
    assert {name.encode() for name in SENT.split()} <= set(allowed)
    assert b"*" not in allowed


def test_credentials_are_never_allowed() -> None:
    cors = Cors(frozenset({"*", "https://shop.example"}))

    names = {name for name, _ in (*cors.headers(PAGE), *cors.preflight(("POST",)).headers)}
    assert b"access-control-allow-credentials" not in names
