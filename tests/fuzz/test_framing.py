"""
The second reading of HTTP, which the fuzzer compares with the service.

If these tests fail: the fuzzer finds no smuggled request, so that a proxy and the service may see
different requests.
"""

import pytest

from tests.fuzz.framing import State, read_requests

HEAD = b"POST /v1/page HTTP/1.1\r\nHost: a\r\n"
SIZED = HEAD + b'Content-Length: 16\r\n\r\n{"event_id":"E"}'
CHUNKS = b'10\r\n{"event_id":"E"}\r\n0\r\n\r\n'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS


@pytest.mark.parametrize(
    ("stream", "requests", "state"),
    [
        (b"", 0, "open"),
        (SIZED, 1, "open"),
        (CHUNKED + SIZED, 2, "open"),
        (b"\r\n\n" + SIZED, 1, "open"),
        (SIZED.replace(b"\r\n", b"\n"), 1, "open"),
        (SIZED.replace(b"HTTP/1.1", b"HTTP/1.0") + SIZED, 1, "closed"),
        (HEAD + b"Connection: close\r\n\r\n" + SIZED, 1, "closed"),
        # The length is ambiguous: the chunks count, and nothing may follow.
        (
            HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS + SIZED,
            1,
            "closed",
        ),
        (HEAD + b"Transfer-Encoding: gzip, Chunked\r\n\r\n" + CHUNKS, 1, "open"),
        (
            CHUNKED.replace(b"10\r\n", b'10 ;a="b"\r\n').replace(
                b"0\r\n\r\n", b"00\r\nX: a\r\n\r\n"
            ),
            1,
            "open",
        ),
        (SIZED[:-1], 0, "incomplete"),
        (SIZED + HEAD, 1, "incomplete"),
        (CHUNKED[:-1], 0, "incomplete"),
        (CHUNKED[:-8], 0, "incomplete"),
        (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS, 0, "invalid"),
        (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS, 0, "invalid"),
        (HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS, 0, "invalid"),
        (HEAD + b"X: a\r\n b\r\n\r\n", 0, "invalid"),
        (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"), 0, "invalid"),
        (CHUNKED.replace(b"10\r\n{", b"10\n{"), 0, "invalid"),
        (CHUNKED.replace(b"10\r\n{", b"0x10\r\n{"), 0, "invalid"),
        (CHUNKED.replace(b"10\r\n{", b"f\r\n{"), 0, "invalid"),
        (CHUNKED.replace(b"0\r\n\r\n", b"0\r\nX\r\n\r\n"), 0, "invalid"),
        (HEAD + b"Content-Length: 16\r\nContent-Length: 4\r\n\r\n", 0, "invalid"),
        (SIZED.replace(b"Host: a", b"Content-Length: 016"), 1, "open"),
        (HEAD + b"Content-Length: +16\r\n\r\n", 0, "invalid"),
        (b"GET / HTTP/1.1 \r\n\r\n", 0, "invalid"),
    ],
)
def test_requests_end_where_the_standard_says(stream: bytes, requests: int, state: State) -> None:
    reading = read_requests(stream)

    assert (requests, state) == (len(reading.requests), reading.state)


def test_only_the_events_of_a_request_itself_count_as_sent() -> None:
    """The id of a request that is hidden in a body is not sent."""
    hidden = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(SIZED), SIZED)
    batch = b'{"batch":[{"event_id":"E1"},{"messageId":"E2","context":{"event_id":"E3"}}]}'
    sized = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(batch), batch)

    ids = [request.event_ids() for request in read_requests(SIZED + hidden + sized).requests]

    assert [["E"], [], ["E1", "E2"]] == ids
