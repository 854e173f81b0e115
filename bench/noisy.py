"""
`python -m bench.noisy LOAD`: the noisy tenant of `bench.fairness`, in a closed loop until SIGTERM.

LOAD is JSON: address, key, connections and case (see CASES). At its end it prints the number of
answers by status, as JSON.
"""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from bench.events import EventMaker, compact_json

BATCH: Final = 50
# Less than the limit of a request.
_BODY_BYTES: Final = 250_000
_CONTEXT_BYTES: Final = 150_000
_NESTING: Final = 60
_REFUSED_PAUSE_S: Final = 0.05
_MARK: Final = b'"messageId":"'
_ID_CHARS: Final = 32
# The requests of the load are not what is measured: other programs come first.
_NICENESS: Final = 10

MakeBody = Callable[[], bytes]


def _batch(**change: Any) -> dict[str, Any]:
    batch = EventMaker().batch(BATCH)
    for event in batch["batch"]:
        event["messageId"] = os.urandom(_ID_CHARS // 2).hex()
        event.update(change)
    return batch


def _filled(properties: Callable[[int], Any]) -> dict[str, Any]:
    """Return a batch of about `_BODY_BYTES` bytes; *properties* gets the bytes for each event."""
    batch = _batch()
    room = (_BODY_BYTES - len(compact_json(batch))) // BATCH
    for event in batch["batch"]:
        event["properties"] = properties(room)
    return batch


def _nested(size_bytes: int) -> dict[str, Any]:
    text = "[" * _NESTING + "]" * _NESTING
    return {"lists": [json.loads(text)] * (size_bytes // (len(text) + 1))}


def _new_ids(batch: dict[str, Any]) -> MakeBody:
    """Return a function that makes bodies of *batch* with new ids: the sender has little to do."""
    first, *parts = compact_json(batch).split(_MARK)
    rests = [part[_ID_CHARS:] for part in parts]

    def make() -> bytes:
        ids = os.urandom(_ID_CHARS // 2 * BATCH).hex().encode()
        chunks = [first]
        for number, rest in enumerate(rests):
            chunks += (_MARK, ids[number * _ID_CHARS : (number + 1) * _ID_CHARS], rest)
        return b"".join(chunks)

    return make


def _same_ids() -> MakeBody:
    body = compact_json(_batch())
    return lambda: body


def _conflicts() -> MakeBody:
    batch = _batch(properties={"number": "0" * _ID_CHARS})
    body = compact_json(batch)
    mark = b"0" * _ID_CHARS
    return lambda: body.replace(mark, os.urandom(_ID_CHARS // 2).hex().encode())


CASES: Final[dict[str, Callable[[], MakeBody]]] = {
    "new events": lambda: _new_ids(_batch()),
    "only rejected ones": lambda: _new_ids(_batch(timestamp="never")),
    "only duplicates": _same_ids,
    "only conflicts": _conflicts,
    "largest batches": lambda: _new_ids(_filled(lambda room: {"text": "x" * room})),
    "nested JSON": lambda: _new_ids(_filled(_nested)),
    "refused context": lambda: _new_ids(_batch() | {"context": {"text": "x" * _CONTEXT_BYTES}}),
}
"""What the noisy tenant sends."""


async def _connection(load: dict[str, Any], make: MakeBody, statuses: Counter[str]) -> None:
    host, port = load["address"].split(":")
    key = base64.b64encode(f"{load['key']}:".encode()).decode()
    reader, writer = await asyncio.open_connection(host, int(port))
    while True:
        body = make()
        head = (
            f"POST /v1/batch HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        writer.write(body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        status = answer[9:12].decode()
        statuses[status] += 1
        if status != "200":
            await asyncio.sleep(_REFUSED_PAUSE_S)


async def _keep_open(load: dict[str, Any], make: MakeBody, statuses: Counter[str]) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await _connection(load, make, statuses)
        await asyncio.sleep(_REFUSED_PAUSE_S)


async def _run(load: dict[str, Any]) -> None:
    os.nice(_NICENESS)
    statuses: Counter[str] = Counter()
    make = CASES[load["case"]]()
    sending = asyncio.gather(
        *(_keep_open(load, make, statuses) for _ in range(load["connections"]))
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sending.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    print(json.dumps(statuses))


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.argv[1])))
