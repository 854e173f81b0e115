"""
A body on its way in, which a refusal may have to see off.

A connection that is closed while its sender still sends is reset, and the answer is lost with it:
the sender sees a fault of the network, and tries again what was refused for good.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final

from service.edge.request import Headers, Receive, content_length

_DISCARDED_BYTES_MAX: Final = 4 * 1024 * 1024
_DISCARD_TIMEOUT_S: Final = 1.0


class Inbound:
    """A request's headers, and how far its body has come."""

    def __init__(self, headers: Headers, receive: Receive) -> None:
        """*receive* is the server's; whoever calls it hands over what it returned to `take`."""
        self.headers = headers
        self.receive = receive
        self.length = content_length(headers)
        # The server holds a body to its length: the empty message after its end can be spared.
        self.is_whole = self.length == 0
        self._received = 0
        # A sender that asks first whether to go on has not begun.
        self._is_coming = b"expect" not in headers

    def take(self, message: MutableMapping[str, Any]) -> bytes:
        """Return the piece of the body that *message* brought."""
        chunk: bytes = message.get("body", b"")
        self._received += len(chunk)
        self._is_coming = True
        self.is_whole = not message.get("more_body", False) or self._received == self.length
        return chunk

    def give_up(self) -> None:
        """Forget the rest: after a read that was given up there is nothing to go on with."""
        self._is_coming = False

    async def discard(self) -> None:
        """Read what is still coming and forget it, within bounds of bytes and time."""
        if not self._has_body():
            return
        discarded = 0
        try:
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                while not self.is_whole and discarded < _DISCARDED_BYTES_MAX:
                    discarded += len(self.take(await self.receive()))
        except TimeoutError:
            return

    def _has_body(self) -> bool:
        has_any = self.length is not None or b"transfer-encoding" in self.headers
        return self._is_coming and has_any
