"""
`python -m bench.http_floor PORT WORKERS`: the bare HTTP server.

It has the Granian options of the service, reads each body and answers a constant: what a request
costs here is the cost of HTTP alone.
"""

import multiprocessing
import sys
from typing import Any, Final

from granian import Granian

from service.config import Config
from service.server import granian_options

# Same length as the service's answer to one event.
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
    """Answer each request with the same bytes once its body has been read."""
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
    """Serve until SIGTERM."""
    multiprocessing.set_start_method("spawn", force=True)
    settings = Config(port=int(sys.argv[1]), workers=int(sys.argv[2]))
    Granian("bench.http_floor:app", **granian_options(settings)).serve()


if __name__ == "__main__":
    main()
