"""
The load generator, against a server that does what the test says.

If these tests fail: the published latencies and rates are wrong, for example because a pause of the
service does not show in them.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bench.events import RequestMaker
from bench.figures import Sample
from bench.generator import percentile

ACCEPTED = b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n" + b'{"status":"accepted"}'

Answer = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """Serve what *answer* returns for the body of each request; an empty answer hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"Content-Length: (\d+)", head)
                assert length is not None
                reply = await answer(await reader.readexactly(int(length[1])))
                writer.write(reply)
                if not reply:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the generator has ended
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def generated(address: str, **load: Any) -> Sample:
    """Run the generator and return its figures."""
    given = {"address": address, "keys": ["k"], "connections": 3, "batch": 1, "rate": None}
    command = [sys.executable, "-m", "bench.generator", json.dumps(given | {"warmup": 0} | load)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe)
    printed, _ = await process.communicate()
    begin, end, figures = printed.decode().splitlines()
    assert (begin, end) == ("begin", "end")
    found: Sample = json.loads(figures)
    return found


async def test_a_pause_counts_in_the_latency_of_every_request_due_in_it() -> None:
    taken = 0
    is_over = asyncio.Event()

    async def pause_once(_body: bytes) -> bytes:
        nonlocal taken
        taken += 1
        if taken == 50:
            asyncio.get_running_loop().call_later(0.5, is_over.set)
        if taken >= 50:
            await is_over.wait()
        return ACCEPTED

    async with serving(pause_once) as address:
        found = await generated(address, rate=200, seconds=1, connections=4)

    assert found["statuses"] == {"200": 200}
    # 100 requests were due in the half second, but only 4 connections waited in it.
    assert found["p90_ms"] > 300
    assert found["max_ms"] >= 490


async def test_no_event_is_sent_twice_and_all_are_counted() -> None:
    sent: list[str] = []

    async def collect(body: bytes) -> bytes:
        sent.extend(event["messageId"] for event in json.loads(body)["batch"])
        body = b'{"success":true,"accepted":50,"duplicates":0,"results":[]}'
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async with serving(collect) as address:
        found = await generated(address, batch=50, seconds=0.3)

    assert len(sent) == 50 * found["requests"] > 0
    assert len(set(sent)) == len(sent)
    assert found["accepted_ever"] == 50 * found["requests"]


async def test_a_request_whose_connection_broke_is_counted_as_broken() -> None:
    taken = 0

    async def hang_up_once(_body: bytes) -> bytes:
        nonlocal taken
        taken += 1
        return b"" if taken == 3 else ACCEPTED

    async with serving(hang_up_once) as address:
        found = await generated(address, rate=100, seconds=0.2)

    assert (found["requests"], found["broken"], found["statuses"]) == (20, 1, {"200": 19})


async def test_refusals_are_counted_by_their_status() -> None:
    async def refuse(_body: bytes) -> bytes:
        return b'HTTP/1.1 503 Busy\r\ncontent-length: 21\r\n\r\n{"code":"overloaded"}'

    async with serving(refuse) as address:
        found = await generated(address, rate=100, seconds=0.1)

    assert (found["statuses"], found["accepted"]) == ({"503": 10}, 0)


@pytest.mark.parametrize("events", [1, 50])
def test_an_event_has_about_560_bytes_and_a_request_its_right_length(events: int) -> None:
    maker = RequestMaker("127.0.0.1:8000", ["one", "two"], events)

    requests = [maker.next().split(b"\r\n\r\n") for _ in range(32)]

    assert all(b"Content-Length: %d" % len(body) in head for head, body in requests)
    assert 520 <= sum(len(body) for _, body in requests) / 32 / events <= 600
    assert {head.split()[1] for head, _ in requests} == (
        {b"/v1/batch"} if events > 1 else {b"/v1/track", b"/v1/identify"}
    )


def test_percentiles_are_nearest_ranks() -> None:
    thousand = list(range(1, 1001))

    assert [500, 990, 999, 1000] == [percentile(thousand, at) for at in (500, 990, 999, 1000)]
    assert [0, 7] == [percentile([], 990), percentile([7], 990)]
