"""
Requests as the HTTP server passes them to the edge, and Hypothesis strategies that make them.

A strategy begins with a correct request, whose good events must all be stored, and then damages
most of them.
"""

import json
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from hypothesis import strategies as st

from service.model import EVENT_TYPES
from tests.sent import Pen

# The player replaces these with keys; they are as long as keys, so that lengths stay true.
KEY: Final = "fb1_".ljust(55, "K")
REVOKED_KEY: Final = "fb1_".ljust(55, "R")
UNKNOWN_KEY: Final = "fb1_".ljust(55, "U")
OTHER_KEY: Final = "fb1_".ljust(55, "O")

Framing = Literal["length", "padded length", "chunked", "both", "none", "wrong length"]
Ending = Literal["complete", "disconnect", "stall", "timeout"]
"""`stall`: the client is silent, and then disconnects; `timeout`: the edge gives up first."""
Coding = Literal["identity", "gzip", "members", "deflate", "raw deflate"]

Taken = Literal["nothing", "memory", "requests"]
"""What other requests have taken of the worker: its memory for bodies, or all of its requests."""


class Exchange(msgspec.Struct):
    """One request; texts stand for bytes, as in Latin-1."""

    path: str
    body: str
    method: str = "POST"
    headers: list[tuple[str, str]] = []
    coding: Coding = "identity"
    """How the body is really encoded."""
    framing: Framing = "chunked"
    ending: Ending = "complete"
    cuts: list[int] = []
    """Where the encoded body is cut into chunks, modulo its length."""
    damage: list[tuple[int, int]] = []
    """Bytes of the encoded body that are replaced: place, modulo its length, and value."""
    length_max: int | None = None
    """The encoded body is cut off here."""
    pause: int = 0
    """Steps of the event loop before each chunk."""
    must_store: list[str] = []
    """Event ids that have to be accepted, as nothing is wrong with the request."""


class EdgeCase(msgspec.Struct):
    """Requests that run at the same time in one worker."""

    exchanges: list[Exchange]
    is_leaving: bool = False
    taken: Taken = "nothing"


_NEEDED: Final[dict[str, dict[str, str]]] = {
    "track": {"event": "Order Completed"},
    "identify": {"userId": "u1"},
    "group": {"group_id": "g"},
    "alias": {"previousId": "p", "user_id": "u"},
}
_DEEP: Final = "[" * 80 + "]" * 80
_BAD_EVENTS: Final = (
    *("7", "null", "[]", '""', "true", "{}", '{"type":"click"}', '{"type":null}', "[[]]"),
    *('{"type":"track"}', '{"type":"track","event":7}', '{"type":"identify"}'),
    *('{"type":"page","properties":[]}', '{"type":"page","userId":{}}'),
    *('{"type":"page","type":"page"}', '{"type":"page","userId":"a","user_id":"b"}'),
    *(r'{"type":"page","event_id":"a\u0007"}', r'{"type":"page","name":"\ud800"}'),
    *(r'{"type":"page","properties":{"a\u0000":1}}', '{"type":"page","traits":{"a":NaN}}'),
    *('{"type":"page","context":{"a":-Infinity}}', '{"type":"page","properties":{"a":1e999999}}'),
    f'{{"type":"page","properties":{{"a":{"9" * 500}}}}}',
    *(f'{{"type":"page","event_id":"{"x" * 201}"}}', f'{{"type":"page","x":{_DEEP}}}'),
    *('{"type":"page","timestamp":"soon"}', '{"type":"page","timestamp":"1969-12-31"}'),
    *('{"type":"page","sentAt":7}', '{"type":"page","timestamp":"9999-12-31"}'),
)
_BAD_BODIES: Final = (
    *("", "{", "[]", "null", "7", '"', "{}", '{"batch":{}}', '{"batch":[]}', '{"batch":null}'),
    *('{"batch":[{}],"batch":[{}]}', '{"batch":[{}],"sentAt":"soon"}', '{"batch":[{}]} x'),
    *('{"batch":[{}],"context":7}', "\xff\xfe{}", "\xef\xbb\xbf{}", '{"writeKey":7}', "a=b&c"),
    '{"batch":[{}],"context":{"a":"' + "x" * 40_000 + '"}}',
    *('{"batch":[' + ",".join(["{}"] * 60) + "]}", "[" * 5_000, '{"batch":' + "[" * 5_000),
    *('{"a":' * 5_000, " " * 300_000, "\0" * 100, f'{{"writeKey":"{UNKNOWN_KEY}"}}'),
    f'{{"writeKey":"{KEY}","writeKey":"{KEY}"}}',
)
_PATHS: Final = (
    *("/", "/health", "/health/live", "/health/ready", "/metrics", "/v1", "/v1/", "/v1/batch//"),
    *("/v1/track", "/v1/batch/", "/V1/track", "//v1/track", "/v1/../v1/track", "*", "", "/\0"),
    *("/v1/tr\u00e4ck", "/\ud800", "/" + "a" * 10_000, "/v1/m", "/v1/m/", "/v1/x", "/api/s/"),
    *(f"/v1/projects/{key}/settings" for key in (KEY, UNKNOWN_KEY, REVOKED_KEY, "", "\ud800")),
    *(f"/sourceConfig/?a&writeKey={key}" for key in (KEY, UNKNOWN_KEY, "\xff", "%")),
    *(f"/beacon/v1/batch?writeKey={key}" for key in (UNKNOWN_KEY, "", "a&writeKey=b", "\ud800")),
)
_BATCH_PATHS: Final = ("/v1/batch", "/v1/batch/", "/v1/import/", "/v1/b", "/beacon/v1/batch")
_EVENT_PATHS: Final = ("/v1/{0}", "/v1/{0}/", "/v1/{0[0]}", "/api/s/{0}", "/api/s/s2s/{0}/")
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "post", "X" * 5_000, "!#$")
_CODING_NAMES: Final[dict[Coding, tuple[str, ...]]] = {
    "identity": ("identity", "", " Identity "),
    "gzip": ("gzip", "x-gzip", "GZIP"),
    "members": ("gzip",),
    "deflate": ("deflate",),
    "raw deflate": ("deflate",),
}
_WRONG_CODINGS: Final = ("br", "zstd", "gzip, gzip", "gzip", "deflate", "\xff", "identity, gzip")
_KEYS: Final = (
    "",
    " ",
    "fb1_",
    ":",
    f"{KEY}:***",
    "\xff\0",
    UNKNOWN_KEY,
    REVOKED_KEY,
    KEY[:-1] + "x",
    "K" * 9_000,
)
_AUTHORIZATIONS: Final = (
    *(f"{scheme} {key}" for scheme in ("Bearer", "Basic") for key in _KEYS),
    *("Basic", "Basic !", "Basic =", "Basic Og==", "Basic Og", "Bearer", "bearer\t", "Negotiate a"),
    f"Bearer {KEY}:x",
)
_VERSIONS: Final = ("1", "1.0.0.0", "a.b", "\xff", "", "99999.99999.99999", "100000.0", "1.0 ")
_KEY_HEADERS: Final = ("authorization", "x-api-key", "x-write-key")
_HEADER_NAMES: Final = (
    *_KEY_HEADERS,
    *("content-length", "transfer-encoding", "content-encoding", "x-event-schema-version"),
    *("origin", "traceparent", "expect", "connection", "host", "cookie", "x-a", "content-type"),
    *("access-control-request-method", "x-forwarded-host", "x-forwarded-proto"),
)
_HEADER_VALUES: Final = (
    *("", " ", "0", "5", "-1", "+5", "1e3", "9" * 30, "chunked", "Chunked ", "gzip, chunked"),
    *("100-continue", "close", "1.0", "https://shop.example", "null", "\xe9\xff", "a" * 9_000),
    *("Basic", "Basic !", "Basic =", "Bearer", f"Bearer {UNKNOWN_KEY}", "Negotiate a"),
    "Basic Og==",
)
_texts = st.text(st.characters(max_codepoint=255), max_size=20)


@st.composite
def _correct(draw: st.DrawFn, number: int, salt: str) -> Exchange:
    """Return a request whose good events have to be stored."""
    # One number for all that is correct in any case: each draw takes time. Hypothesis draws some
    # numbers often, and with *salt* they mean something else in each round.
    pen = Pen(f"{salt}:{draw(st.integers(0, 2**32))}")
    event_type = pen.choice([None, None, *EVENT_TYPES])
    if event_type is None:
        kinds = draw(st.lists(st.sampled_from(["good", "good", "bad"]), min_size=1, max_size=5))
        body, ids = _batch(pen, number, kinds if pen.random() < 0.97 else kinds * 10)
    else:
        ids = [f"{number}-0"]
        body = _good_event(pen, ids[0], event_type)
    paths = _BATCH_PATHS if event_type is None else _EVENT_PATHS
    path = pen.choice(paths).format(event_type)
    is_beacon = path.startswith("/beacon")
    place = pen.choice(["basic", "bearer", "x-api-key", "x-write-key", "body", "query"])
    headers = [("host", "forebay.test")]
    if place == "query" and is_beacon:
        path += f"?writeKey={KEY}"
    elif place in {"body", "query"}:
        body = f'{{"writeKey":"{KEY}",' + body.lstrip("{ \n\t\r")
    elif place in {"basic", "bearer"}:
        headers.append(("authorization", f"{place.title()} {KEY}"))
    else:
        headers.append((place, KEY + pen.choice(["", ":x"])))
        if pen.random() < 0.2:
            headers.append(("authorization", pen.choice(["", "Basic Og==", "Negotiate a"])))
    coding: Coding = pen.choice(["identity", "identity", *_CODING_NAMES])
    if coding != "identity" or pen.random() < 0.5:
        headers.append(("content-encoding", pen.choice(_CODING_NAMES[coding])))
    others = [("origin", "https://shop.example"), ("x-event-schema-version", "2.10")]
    headers += pen.sample(others, pen.randint(0, 2))
    return Exchange(
        path=path,
        body=body.encode().decode("latin-1"),
        headers=pen.sample(headers, len(headers)),
        coding=coding,
        framing=pen.choice(["length", "chunked"]),
        cuts=[pen.randint(0, 400) for _ in range(pen.randint(0, 4))],
        pause=pen.randint(0, 2),
        must_store=ids,
    )


def _batch(pen: Pen, number: int, kinds: list[str]) -> tuple[str, list[str]]:
    """Return a batch of good and bad events, and the ids of the good ones."""
    ids = [f"{number}-{place}" for place, kind in enumerate(kinds) if kind == "good"]
    events = [
        _good_event(pen, f"{number}-{place}", None) if kind == "good" else pen.choice(_BAD_EVENTS)
        for place, kind in enumerate(kinds)
    ]
    members = ['"batch":[' + ",".join(events) + "]"]
    if pen.random() < 0.5:
        members.append('"context":{"ip":"::1"}')
    return "{" + ",".join(pen.sample(members, len(members))) + "}", ids


def _good_event(pen: Pen, event_id: str, event_type: str | None) -> str:
    """Return a valid event as JSON; *event_type* is that of the path, None in a batch."""
    kind = event_type or pen.choice(EVENT_TYPES)
    members = {"type": json.dumps(kind)}
    if event_type is not None and pen.random() < 0.5:
        del members["type"]
    members |= {name: pen.text(value) for name, value in _NEEDED.get(kind, {}).items()}
    members[pen.choice(["event_id", "messageId"])] = json.dumps(event_id)
    for name in ("properties", "traits", "context"):
        if pen.random() < 0.3:
            members[name] = pen.object()
    if pen.random() < 0.3:
        members["x_" + pen.choice(["é", "a.b", " "])] = pen.value()
    if pen.random() < 0.3:
        members["timestamp"] = json.dumps("2026-01-31T12:00:00Z")
    names = pen.sample(sorted(members), len(members))
    return pen.joined("{}", [f"{pen.text(name)}:{members[name]}" for name in names])


def _with_method(draw: st.DrawFn, request: Exchange) -> None:
    request.method = draw(st.sampled_from(_METHODS))


def _with_path(draw: st.DrawFn, request: Exchange) -> None:
    request.path = draw(st.sampled_from(_PATHS))


def _with_key(draw: st.DrawFn, request: Exchange) -> None:
    request.headers = [pair for pair in request.headers if pair[0] not in _KEY_HEADERS]
    name = draw(st.sampled_from(_KEY_HEADERS))
    values = _AUTHORIZATIONS if name == "authorization" else _KEYS
    request.headers.append((name, draw(st.sampled_from(values) | _texts)))


def _without_key(draw: st.DrawFn, request: Exchange) -> None:
    del draw
    request.headers = [pair for pair in request.headers if pair[0] not in _KEY_HEADERS]


def _with_other_tenant(draw: st.DrawFn, request: Exchange) -> None:
    del draw
    request.headers = [(name, value.replace(KEY, OTHER_KEY)) for name, value in request.headers]
    request.body = request.body.replace(KEY, OTHER_KEY)


def _with_header(draw: st.DrawFn, request: Exchange) -> None:
    name = draw(st.sampled_from(_HEADER_NAMES))
    request.headers.append((name, draw(st.sampled_from(_HEADER_VALUES) | _texts)))


def _with_header_again(draw: st.DrawFn, request: Exchange) -> None:
    if request.headers:
        request.headers.append(draw(st.sampled_from(request.headers)))


def _with_version(draw: st.DrawFn, request: Exchange) -> None:
    value = draw(st.sampled_from(_VERSIONS) | _texts)
    request.headers.append(("x-event-schema-version", value))


def _with_coding(draw: st.DrawFn, request: Exchange) -> None:
    request.headers = [pair for pair in request.headers if pair[0] != "content-encoding"]
    request.headers.append(("content-encoding", draw(st.sampled_from(_WRONG_CODINGS))))


def _with_body(draw: st.DrawFn, request: Exchange) -> None:
    binary = st.binary(max_size=200).map(lambda body: body.decode("latin-1"))
    request.body = draw(st.sampled_from(_BAD_BODIES) | binary)


def _with_damage(draw: st.DrawFn, request: Exchange) -> None:
    place = st.tuples(st.integers(0, 1_000), st.integers(0, 255))
    request.damage = draw(st.lists(place, min_size=1, max_size=4))


def _cut_off(draw: st.DrawFn, request: Exchange) -> None:
    request.length_max = draw(st.integers(0, 300))


def _with_framing(draw: st.DrawFn, request: Exchange) -> None:
    request.framing = draw(st.sampled_from(["padded length", "both", "none", "wrong length"]))


def _with_ending(draw: st.DrawFn, request: Exchange) -> None:
    request.ending = draw(st.sampled_from(["disconnect", "disconnect", "stall", "timeout"]))
    _cut_off(draw, request)


def _with_same_ids(draw: st.DrawFn, request: Exchange) -> None:
    """Let the events have the ids of the first request: one of the two gets conflicts."""
    del draw
    request.body = request.body.replace('"1-', '"0-')


_FAULTS: Final[list[Callable[[st.DrawFn, Exchange], None]]] = [
    *(_with_method, _with_path, _with_key, _without_key, _with_other_tenant, _with_header),
    *(_with_header_again, _with_version, _with_coding, _with_body, _with_damage, _cut_off),
    *(_with_framing, _with_ending),
]


@st.composite
def exchanges(draw: st.DrawFn, number: int, salt: str) -> Exchange:
    """Return a request whose event ids begin with *number*; two of three have faults."""
    request = draw(_correct(number, salt))
    faults = draw(st.lists(st.sampled_from(_FAULTS), max_size=3)) if draw(st.integers(0, 2)) else []
    for fault in faults:
        fault(draw, request)
        request.must_store = []
    return request


@st.composite
def edge_cases(draw: st.DrawFn, salt: str) -> EdgeCase:
    """Return up to six requests that run at the same time; another *salt* makes other ones."""
    count = draw(st.sampled_from([1, 2, 3, 6]))
    made = [draw(exchanges(number, salt)) for number in range(count)]
    has_same_ids = count > 1 and draw(st.integers(0, 9)) == 0
    if has_same_ids:
        _with_same_ids(draw, made[1])
    taken: Taken = draw(st.sampled_from(["nothing"] * 8 + ["memory", "requests"]))
    is_short = any(request.ending == "timeout" for request in made)
    if has_same_ids or is_short or taken != "nothing":
        for request in made:
            request.must_store = []
    return EdgeCase(made, draw(st.integers(0, 9)) == 0, taken)
