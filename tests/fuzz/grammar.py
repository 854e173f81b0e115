"""
A grammar of HTTP/1.1 connections, from correct to hostile.

Each rule returns a random form; most forms are correct, so that the requests reach the service.
"""

import gzip
import itertools
import json
import random
from collections.abc import Sequence
from typing import Final

from service.model import EVENT_TYPES
from tests.fuzz.talks import KEY, End, HttpCase, Step, Talk

_SIZES_OF_NAMES: Final = (0, 1, 50, 2_000)
_TARGETS: Final = (
    *("/", "/health", "/health/live", "/health/ready", "/nowhere", "*", "/v1/batch?a=b&c"),
    *("/%zz", "/v1/%74rack", "//v1/track", "/v1/./track", "/v1/track#a", "/v1/track/.."),
    *("/v1/track;a", "http://forebay.test/v1/track", "http://a@b:99999/v1/track"),
    *("forebay.test:80", "http://", "/v1/track%00", "/%ff%fe", "/v1/tr\xff", "/v1/tr\xc3\xa4"),
    *("/v1/tr ack", "", "v1/track", "/\\", "/" + "a" * 9_000, "/v1/track?" + "a" * 66_000),
    *("/v1/track?\xff", "/v1/track\t", "?a", "/v1/m", "/sourceConfig/?writeKey=%ff&writeKey=a"),
    *("/v1/projects/fb1_a/settings", "/v1/projects/%00/settings?a", "/beacon/v1/batch?writeKey=%"),
)
_METHODS: Final = (
    *("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "post", "PRI"),
    *("M-SEARCH", "", "G@T", "P\xff", "P\0ST", "A" * 3_000),
)
_VERSIONS: Final = (
    *("HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 "),
    *("HTTP/11", "HTTP/1.1\t", "", "HTTP/1.", "HTTP/1.1\x00", "HTTPS/1.1"),
)
_LINE_ENDS: Final = ("\n", "\r", "\r\r\n", " \r\n", "\n\r", "\0\r\n")
_LENGTHS: Final = (
    *("0", "1", "-1", "+{}", "{}, {}", "{},{}", " {}", "{} ", "\t{}", "0x{:x}", "{}.0", "{}e0"),
    *("{:020}", "{:0300}", "", "a", "{} {}", "18446744073709551615", "18446744073709551616"),
    *("18446744073709551614", "9223372036854775807", "\xb2", "{}\x0b", "{};a", "{}\r\n "),
)
_CODINGS: Final = (
    *("Chunked", "CHUNKED", " chunked ", "\tchunked", "chunked, chunked", "gzip, chunked"),
    *("chunked, gzip", "identity", "xchunked", "chunkedx", "chunked;a=b", "\x0bchunked"),
    *("chunked,", ",chunked", '"chunked"', "chunked\0", "", "chun\r\n ked", "identity, chunked"),
    "\xe7hunked",
)
_SIZES: Final = (
    *("-1", "+5", "0x5", "", "g", "{1:x}", "{2:x}", "f" * 16, "f" * 17, "7" + "f" * 15),
    *("0" * 40 + "{0:x}", "{0:x} ", " {0:x}", "{0:x}\0", "{0}"),
)
_EXTENSIONS: Final = (
    *(";a", ";a=b", ';a="b;c"', ' ;a="\\"', ";" + "a" * 3_000, ";\xff", ";\0", "; a = b", " "),
    *("\t", ";a\n", ";a\r", ' ; a="\r\n"'),
)
_TRAILERS: Final = (
    *("X-A: b", "Content-Length: 5", f"X-API-Key: {KEY}", "Transfer-Encoding: chunked", "a", ": b"),
    *("X-A: b\0", "Host: other", "X-A: " + "b" * 3_000, "X-A : b", "\xff: a"),
)
_HEADERS: Final = (
    *("Origin: https://shop.example", "Accept: */*", "Cookie: a=b; c=d", "TE: trailers", "X-A:"),
    *("Connection: keep-alive", "Connection: close", "Connection: close, X-API-Key"),
    "Via: 1.1 a",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    *("Expect: 100-continue", "Expect: 200-ok", "Expect: 100-Continue, a", "Expect:"),
    *("Content-Encoding: br", "Content-Encoding: gzip", "Content-Encoding: identity", "Host: b"),
    *("X-Event-Schema-Version: 1", "X-Event-Schema-Version: \xff", "X-Event-Schema-Version: 2.0"),
    *("Authorization: Basic !", "Authorization: Bearer \xff", "Authorization: Negotiate a"),
    *("Host:", "X-API-Key: a", "Trailer: X-A", "Keep-Alive: timeout=1000000"),
    *("Proxy-Connection: close", "X-HTTP-Method-Override: DELETE", "X-Forwarded-For: \xff"),
    *("Content-Type: text/plain;\xff", "traceparent: 00-1-1-00", "Range: bytes=0-"),
    *("If-Match: *", "Max-Forwards: 0", " X-A: b", "X-A : b", "X-A\t: b", ": b", "X-A"),
    *("X\0A: b", "X-A: b\0c", "X-A: b\rc", "X-\xff: a", "X-A: b\r\n c", "X-A:\r\n b"),
    *("X-A: " + "b" * 70_000, "X-A: \x7f", "X(A): b", "\r", "X-A:: b", "Content_Length: 5"),
    *("Transfer_Encoding: chunked", "Content-Length : 5", "Content-Length\0: 5"),
    *("Transfer-Encoding : chunked", "Transfer-Encoding: chunked", "Content-Length: 0"),
)
_JUNK: Final = (
    *("\r\n", "\n", "\r\n\r\n\r\n", " ", "\0", "0\r\n\r\n", "\xff\xfe", "GET"),
    *("PRI * HTTP/2.0\r\n\r\nSM", "\x16\x03\x01\x02\x00\x01\x00", "\r\n\r\nSM\r\n\r\n", "}" * 20),
    "PROXY TCP4 1 2 3 4\r\n",
)


class ConnectionWriter(random.Random):
    """Writes random connections; the same seed writes the same ones."""

    def case(self) -> HttpCase:
        """Return one to three connections."""
        return HttpCase([self.talk() for _ in range(self.choice([1, 1, 2, 3]))])

    def talk(self) -> Talk:
        """Return one connection: a third of them without any fault."""
        if self.random() < 0.3:
            return self._correct_talk()
        parts = [self._request() for _ in range(self.choice([1, 1, 2, 2, 3, 5]))]
        if self.random() < 0.1:
            parts.insert(self.randint(0, len(parts)), self.choice(_JUNK))
        stream = "".join(parts)
        if self.random() < 0.15:
            stream = self._damaged(stream)
        if self.random() < 0.1:
            stream = stream[: self.randint(0, len(stream))]
        ends: list[End] = ["half close", "reset", "leave"]
        return Talk(self._steps(stream), "read" if self.random() < 0.7 else self.choice(ends))

    def _correct_talk(self) -> Talk:
        """Return requests one after the other, all of which have to be stored."""
        parts, ids = [], []
        for _ in range(self.choice([1, 1, 2, 4])):
            own = self._ids()
            path, body = self._events(own)
            ids += own
            parts.append(self._written(path, body, is_chunked=self.random() < 0.5))
        return Talk(self._steps("".join(parts)), must_store=ids)

    def _written(self, path: str, body: str, *, is_chunked: bool) -> str:
        """Return a correct request, in one of the forms that the standard allows."""
        lines = [f"POST {path} HTTP/1.1", "Host: forebay.test", self._key()]
        if self.random() < 0.2:
            body = gzip.compress(body.encode(), 1, mtime=0).decode("latin-1")
            lines.append("Content-Encoding: gzip")
        if self.random() < 0.1:
            lines.append("Expect: 100-continue")
        if is_chunked:
            lines.append(self.choice(["Transfer-Encoding: chunked", "transfer-encoding:chunked"]))
            body = self._correct_chunks(body)
        else:
            lines.append(f"Content-Length: {len(body)}")
        first, *others = lines
        return "\r\n".join([first, *self.sample(others, len(others)), "", ""]) + body

    def _correct_chunks(self, body: str) -> str:
        parts = []
        for part in self._cut(body, self.randint(0, 4)):
            extension = self.choice(["", "", ";a", ";a=b", ';a="b"'])
            size = self.choice(["{:x}", "{:X}", "{:05x}"]).format(len(part))
            parts.append(f"{size}{extension}\r\n{part}\r\n")
        trailer = self.choice(["", "", "X-A: b\r\n"])
        return "".join(parts) + f"{'0' * self.randint(1, 3)}\r\n{trailer}\r\n"

    def _request(self) -> str:
        """Return a request with some faults."""
        sizes = _SIZES_OF_NAMES if self.random() < 0.98 else (300_000, 5_000_000)
        path, body = self._events(self._ids(), sizes)
        if self.random() < 0.3:
            return self._written(path, self._with_hidden_request(body), is_chunked=self._flip())
        if self.random() < 0.3:
            return self._smuggling(body)
        method = "POST" if self.random() < 0.8 else self.choice(_METHODS)
        target = path if self.random() < 0.8 else self.choice(_TARGETS)
        version = "HTTP/1.1" if self.random() < 0.85 else self.choice(_VERSIONS)
        headers = ["Host: forebay.test", self._key()]
        headers += self.choices(_HEADERS, k=self.choice([0, 0, 1, 2, 5]))
        if self.random() < 0.02:
            headers += [f"X-{number}: a" for number in range(self.choice([95, 200, 2_000]))]
        framing, body = self._framed(body)
        headers += framing
        self.shuffle(headers)
        line_end = "\r\n" if self.random() < 0.93 else self.choice(_LINE_ENDS)
        return line_end.join([f"{method} {target} {version}", *headers, "", ""]) + body

    def _framed(self, body: str) -> tuple[list[str], str]:
        """Return the headers that say where the body ends, and the body in that form."""
        kind = self.choice(["length", "length", "chunked", "chunked", "both", "none", "two"])
        lengths = [f"Content-Length: {len(body)}"]
        if self.random() < 0.3:
            lengths = ["Content-Length: " + self.choice(_LENGTHS).format(len(body), len(body))]
        if kind == "two":
            lengths += [f"Content-Length: {self.choice([len(body), len(body), 0, 5])}"]
        codings = ["Transfer-Encoding: chunked"]
        if self.random() < 0.3:
            codings = ["Transfer-Encoding: " + self.choice(_CODINGS)]
        if kind == "none":
            return [], body
        if kind in {"length", "two"}:
            return lengths, body
        chunks = self._chunks(body)
        return codings if kind == "chunked" else [*codings, *lengths], chunks

    def _chunks(self, body: str) -> str:
        parts = []
        for part in self._cut(body, self.randint(0, 3)):
            size = f"{len(part):x}"
            if self.random() < 0.15:
                size = self.choice(_SIZES).format(len(part), len(part) + 1, len(part) - 1)
            if self.random() < 0.15:
                size += self.choice(_EXTENSIONS)
            first = "\r\n" if self.random() < 0.95 else self.choice(_LINE_ENDS)
            second = "\r\n" if self.random() < 0.95 else self.choice(["", *_LINE_ENDS])
            parts.append(f"{size}{first}{part}{second}")
        last = (
            "0\r\n" if self.random() < 0.9 else self.choice(["", "0", "0\n", "00\r\n", "0;a\r\n"])
        )
        trailers = self.choices(_TRAILERS, k=self.choice([0, 0, 0, 1, 3, 200]))
        return "".join(parts) + last + "".join(f"{each}\r\n" for each in trailers) + "\r\n"

    def _smuggling(self, body: str) -> str:
        """Return a request whose end two servers may see in different places."""
        hidden = self._written(*self._events(self._ids()), is_chunked=False)
        first = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
        coding = self.choice(["Transfer-Encoding: chunked", "Transfer-Encoding: ", "X: "])
        if coding.endswith(": "):
            coding += self.choice(_CODINGS)
        length = self.choice([len(body), len(first), len(first) + len(hidden), 0, 4, len(hidden)])
        framing = [coding, f"Content-Length: {length}"]
        self.shuffle(framing)
        head = ["POST /v1/track HTTP/1.1", "Host: forebay.test", self._key(), *framing, "", ""]
        return "\r\n".join(head) + self.choice([first, body, f"0\r\n\r\n{body}"]) + hidden

    def _with_hidden_request(self, body: str) -> str:
        """Return a body that contains a whole request; its events must never be stored."""
        hidden = self._written(*self._events(self._ids()), is_chunked=self._flip())
        if self._flip():
            return hidden
        # As text in the event.
        return json.dumps(json.loads(body) | {"properties": {"a": hidden}})

    def _events(
        self, ids: Sequence[str], sizes: Sequence[int] = _SIZES_OF_NAMES
    ) -> tuple[str, str]:
        """Return the path and the body of valid events with these ids, and names of these sizes."""
        events = [
            {"type": "page", self.choice(["event_id", "messageId"]): each, "name": "a" * size}
            for each in ids
            for size in [self.choice(sizes)]
        ]
        if len(events) == 1 and self._flip():
            kind = self.choice(EVENT_TYPES)
            needs = {"event": "e", "userId": "u", "groupId": "g", "previousId": "p"}
            slash = self.choice(["", "", "/"])
            return f"/v1/{kind}{slash}", json.dumps(events[0] | needs | {"type": kind})
        return "/v1/batch", json.dumps({"batch": events})

    def _ids(self) -> list[str]:
        return [f"E{self.getrandbits(64):016x}" for _ in range(self.choice([1, 1, 1, 3]))]

    def _key(self) -> str:
        name = self.choice(["X-API-Key: ", "Authorization: Bearer ", "x-write-key:"])
        return name + KEY

    def _damaged(self, stream: str) -> str:
        """Return *stream* with some characters replaced, inserted or removed."""
        characters = list(stream)
        for _ in range(self.choice([1, 1, 2, 5])):
            place = self.randrange(len(characters))
            new = self.choice(
                ["\0", "\r", "\n", " ", ":", "\xff", "0", "", chr(self.getrandbits(8))]
            )
            characters[place : place + self.choice([0, 1])] = [new]
        return "".join(characters)

    def _steps(self, stream: str) -> list[Step]:
        """Return *stream* in pieces, some of them slow."""
        cuts = self.choice([0, 0, 1, 2, 5])
        if self.random() < 0.03 and len(stream) < 600:
            cuts = len(stream)
        slow = self.random() < 0.2
        pauses = [0, 1, 5] if slow else [0]
        return [Step(part, self.choice(pauses)) for part in self._cut(stream, cuts)]

    def _cut(self, text: str, cuts: int) -> list[str]:
        """Return *text* in up to *cuts* + 1 parts that are not empty."""
        places = sorted({0, len(text), *(self.randint(0, len(text)) for _ in range(cuts))})
        pairs = itertools.pairwise(places)
        return [text[start:end] for start, end in pairs]

    def _flip(self) -> bool:
        return self.random() < 0.5
