"""The load generator against a server that does what the test says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bench.traffic import Sample, build_generator

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n" + b'{"status":"accepted"}'

Answer = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """Serve what *answer* returns for the body of each request; an empty answer hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            reply = await answer(await reader.readexactly(int(length[1])))
            writer.write(reply)
            if not reply:
                break
        writer.close()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # the generator has gone

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def generated(address: str, *options: str) -> Sample:
    """Run the generator and return its figures."""
    given = ("--address", address, "--key-header", "X-API-Key: k", "--warmup", "0", *options)
    program = await asyncio.to_thread(build_generator)
    process = await asyncio.create_subprocess_exec(program, *given, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    begin, end, figures = said.decode().splitlines()
    assert (begin, end) == ("begin", "end")
    found: Sample = json.loads(figures)
    return found


async def test_a_stall_is_counted_in_every_request_that_it_held_up() -> None:
    taken = 0
    stalled_until = asyncio.Event()

    async def stall_once(_body: bytes) -> bytes:
        nonlocal taken
        taken += 1
        if taken == 50:
            asyncio.get_running_loop().call_later(0.5, stalled_until.set)
        if taken >= 50:
            await stalled_until.wait()
        return ANSWER

    async with serving(stall_once) as address:
        found = await generated(address, "--rate", "200", "--seconds", "1", "--connections", "4")

    assert found["statuses"] == {"200": 200}
    # 100 requests were due in the half second, but only 4 connections waited in it.
    assert found["p90_ms"] > 300
    assert found["max_ms"] >= 490


async def test_no_event_is_sent_twice_and_all_are_counted() -> None:
    sent: list[str] = []

    async def keep(body: bytes) -> bytes:
        sent.extend(event["messageId"] for event in json.loads(body)["batch"])
        return ANSWER

    options = ("--batch", "50", "--seconds", "0.3", "--connections", "3")
    async with serving(keep) as address:
        found = await generated(address, *options)

    assert len(sent) == 50 * found["requests"] > 0
    assert len(set(sent)) == len(sent)
    assert found["accepted_ever"] == found["requests"]


async def test_a_request_whose_connection_broke_is_counted_as_broken() -> None:
    taken = 0

    async def hang_up_once(_body: bytes) -> bytes:
        nonlocal taken
        taken += 1
        return b"" if taken == 3 else ANSWER

    async with serving(hang_up_once) as address:
        found = await generated(address, "--rate", "100", "--seconds", "0.2")

    assert (found["requests"], found["broken"], found["statuses"]) == (20, 1, {"200": 19})


async def test_refusals_are_counted_by_their_status() -> None:
    async def refuse(_body: bytes) -> bytes:
        return b'HTTP/1.1 503 Busy\r\ncontent-length: 21\r\n\r\n{"code":"overloaded"}'

    async with serving(refuse) as address:
        found = await generated(address, "--rate", "100", "--seconds", "0.1")

    assert (found["statuses"], found["accepted"]) == ({"503": 10}, 0)
