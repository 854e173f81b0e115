"""`python -m bench.guesses PORT CONNECTIONS`: sends made-up keys until it is killed."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

from bench.processes import HOST
from service import apikey

_EVENT = b'{"event": "Order Completed", "user_id": "u1"}'


@contextlib.contextmanager
def guessing(port: int, connections: int) -> Iterator[None]:
    """Send made-up keys on so many connections, each one again after its answer."""
    command = [sys.executable, "-m", "bench.guesses", str(port), str(connections)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


async def _guess(port: int) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            reader, writer = await asyncio.open_connection(HOST, port)
            while True:
                writer.write(
                    b"POST /v1/track HTTP/1.1\r\nHost: forebay.test\r\nX-API-Key: %b\r\n"
                    b"Content-Length: %d\r\n\r\n%b"
                    % (apikey.mint().text.encode(), len(_EVENT), _EVENT)
                )
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                _, _, rest = head.partition(b"content-length: ")
                await reader.readexactly(int(rest.split(b"\r", 1)[0]))


async def _main(port: int, connections: int) -> None:
    await asyncio.gather(*(_guess(port) for _ in range(connections)))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
