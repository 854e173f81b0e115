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

    __slots__ = ("_is_given_up", "headers", "is_whole", "length", "receive", "received")

    def __init__(self, headers: Headers, receive: Receive) -> None:
        """*receive* is the server's; whoever calls it hands over what it returned to `take`."""
        self.headers = headers
        self.receive = receive
        # None for a chunked body.
        self.length = content_length(headers)
        # The server holds a body to its length: the empty message after its end can be spared.
        self.is_whole = self.length == 0
        self.received = 0
        self._is_given_up = False

    def take(self, message: MutableMapping[str, Any]) -> bytes:
        """Return the piece of the body that *message* brought."""
        chunk: bytes = message.get("body", b"")
        self.received += len(chunk)
        self.is_whole = self.received == self.length or not message.get("more_body", False)
        return chunk

    def give_up(self) -> None:
        """Forget the rest: after a read that was given up there is nothing to go on with."""
        self._is_given_up = True

    async def discard(self) -> None:
        """Read what is still coming and forget it, within bounds of bytes and time."""
        if not self._is_coming():
            return
        enough = self.received + _DISCARDED_BYTES_MAX
        try:
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                while not self.is_whole and self.received < enough:
                    self.take(await self.receive())
        except TimeoutError:
            return

    def _is_coming(self) -> bool:
        if self._is_given_up or (self.length is None and b"transfer-encoding" not in self.headers):
            return False
        # A sender that asks first whether to go on has not begun.
        return self.received > 0 or b"expect" not in self.headers
