"""
The bare HTTP server: reads each body and answers a constant, under the options of the service.

What a request costs here is what it costs to speak HTTP at all. A test holds the options to those
of service/server.py.
"""

import argparse
import multiprocessing
from typing import Any, Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

_BACKLOG: Final = 2048
_HEADER_TIMEOUT_MS: Final = 75_000
# As long as the answer of the service to one event.
_BODY: Final = (
    b'{"success":true,"request_id":"0000000000000",'
    b'"event_id":"00000000-0000-4000-a000-000000000000","status":"accepted"}'
)
_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_BODY)),
        (b"x-request-id", b"0000000000000"),
    ],
}
_END: Final = {"type": "http.response.body", "body": _BODY, "more_body": False}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request alike once its body has been read."""
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    while (await receive()).get("more_body", False):
        pass
    await send(_START)
    await send(_END)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.floors.http_floor")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn", force=True)
    Granian(
        "bench.floors.http_floor:app",
        address="127.0.0.1",
        port=options.port,
        interface=Interfaces.ASGI,
        workers=options.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_TIMEOUT_MS),
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    main()
