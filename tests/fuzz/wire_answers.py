"""A strict reading of the answers on a connection."""

import re
from typing import Final

import msgspec

from tests.fuzz.documented import Headers, check_answer

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) [ -~]*")
_HEADER: Final = re.compile(rb"([a-z0-9-]+): ([^\x00-\x1f\x7f]*)")
# Answers of the HTTP server itself, which have no body and end the connection.
_OF_SERVER: Final = {400, 414, 431}


class MalformedAnswerError(Exception):
    """The bytes are not an answer."""


class WireAnswer(msgspec.Struct, frozen=True):
    """One answer; *body* is empty if it answers a HEAD request."""

    status: int
    headers: Headers
    body: bytes

    @property
    def is_of_server(self) -> bool:
        """Whether the HTTP server made it, because it could not read the request."""
        return "x-request-id" not in dict(self.headers)


def read_answers(stream: bytes, *, may_lack_body: bool) -> list[WireAnswer]:
    """
    Return the complete final answers in *stream*.

    *may_lack_body*: some of the requests may be HEAD requests.

    Raises
    ------
    MalformedAnswerError
        The stream contains something else.
    """
    answers: list[WireAnswer] = []
    at = 0
    while at < len(stream):
        end = stream.find(b"\r\n\r\n", at)
        if end < 0:
            return answers
        status, headers = _head(stream[at:end])
        at = end + 4
        if status < 200:
            continue
        length = 0 if status == 204 else int(dict(headers).get("content-length", "-1"))
        if length < 0:
            raise MalformedAnswerError(f"no length: {headers}")
        # The next answer begins at once if there is no body.
        if may_lack_body and (at == len(stream) or stream.startswith(b"HTTP/1.", at)):
            length = 0
        body = stream[at : at + length]
        if len(body) < length:
            return answers
        at += length
        answers.append(WireAnswer(status, headers, body))
    return answers


def check_wire_answer(answer: WireAnswer, *, may_lack_body: bool) -> None:
    """Check one answer against the documentation."""
    if answer.is_of_server:
        known = dict(answer.headers)
        assert answer.status in _OF_SERVER, answer
        assert (answer.body, known["connection"]) == (b"", "close"), answer
        return
    is_head = may_lack_body and answer.body == b""
    check_answer(answer.status, answer.headers, answer.body, is_head=is_head)


def _head(head: bytes) -> tuple[int, Headers]:
    first, *lines = head.split(b"\r\n")
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise MalformedAnswerError(first)
    headers = []
    for line in lines:
        pair = _HEADER.fullmatch(line)
        if pair is None:
            raise MalformedAnswerError(line)
        headers.append((pair[1].decode("ascii"), pair[2].decode("latin-1")))
    if found[1] == b"0" and "connection" not in dict(headers):
        headers.append(("connection", "close"))  # the default of HTTP/1.0
    return int(found[2]), headers
