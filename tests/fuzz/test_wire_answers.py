"""
The strict reading of answers, with which the fuzzer checks the service.

If these tests fail: the fuzzer accepts answers that a client cannot read.
"""

import pytest

from tests.fuzz.wire_answers import (
    MalformedAnswerError,
    WireAnswer,
    check_wire_answer,
    read_answers,
)

ALIVE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 18\r\n"
    b'x-request-id: 0123456789abc\r\n\r\n{"status":"alive"}'
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OF_SERVER = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("stream", "statuses"),
    [
        (b"", []),
        (ALIVE, [200]),
        (ALIVE[:-1], []),
        (CONTINUE + ALIVE + OF_SERVER, [200, 400]),
        (ALIVE + OF_SERVER[:30], [200]),
    ],
)
def test_complete_final_answers_are_read(stream: bytes, statuses: list[int]) -> None:
    answers = read_answers(stream, may_lack_body=False)

    assert statuses == [answer.status for answer in answers]
    for answer in answers:
        check_wire_answer(answer, may_lack_body=False)


def test_an_answer_to_a_head_request_has_no_body() -> None:
    head = ALIVE.partition(b"{")[0]
    answers = read_answers(head + head + ALIVE, may_lack_body=True)

    assert [0, 0, 18] == [len(answer.body) for answer in answers]


@pytest.mark.parametrize(
    "stream",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Upper: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        OF_SERVER + b"junk\r\n\r\n",
    ],
)
def test_other_bytes_are_not_an_answer(stream: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        read_answers(stream, may_lack_body=False)


@pytest.mark.parametrize(
    "changed",
    [
        ALIVE.replace(b"0123456789abc", b"0123456789abC"),
        ALIVE.replace(b'"alive"', b'"aliv"}'),
        ALIVE.replace(b"application/json", b"text/plain"),
        ALIVE.replace(b"200 OK", b"500 Internal Server Error"),
        OF_SERVER.replace(b"400", b"500"),
        OF_SERVER.replace(b"close", b"keep-alive"),
    ],
)
def test_an_answer_that_is_not_documented_is_reported(changed: bytes) -> None:
    (answer,) = read_answers(changed, may_lack_body=False)

    with pytest.raises((AssertionError, ValueError, KeyError)):
        check_wire_answer(answer, may_lack_body=False)


def test_an_internal_error_is_reported() -> None:
    body = b'{"code":"internal_error","message":"a","request_id":"0123456789abc"}'
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("x-request-id", "0123456789abc"),
    ]

    with pytest.raises(AssertionError):
        check_wire_answer(WireAnswer(500, headers, body), may_lack_body=False)
