"""
A body on its way in, which a refusal may have to see off.

A connection that is closed while its sender still sends is reset, and the answer is lost with it:
the sender sees a fault of the network, and tries again what was refused for good.
"""

import asyncio
from typing import Any, Final

from service.edge.request import Receive, Scope

_DISCARDED_BYTES_MAX: Final = 4 * 1024 * 1024
_DISCARD_TIMEOUT_S: Final = 1.0


class Inbound:
    """The messages of one request's body; called like the server's `receive`."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        self._left = int(length) if length.isdigit() else None
        # A sender that asks first whether to go on has not begun.
        self._is_coming = b"expect" not in headers and (
            bool(self._left) or b"transfer-encoding" in headers
        )

    async def __call__(self) -> Any:
        """Return the next message."""
        # Until it is here: after a read that was given up there is nothing to go on with.
        self._is_coming = False
        message = await self._receive()
        if self._left is not None:
            self._left -= len(message.get("body", b""))
        self._is_coming = message.get("more_body", False) and self._left != 0
        return message

    async def discard(self) -> None:
        """Read what is still coming and forget it, within bounds of bytes and time."""
        discarded = 0
        try:
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                while self._is_coming and discarded < _DISCARDED_BYTES_MAX:
                    discarded += len((await self()).get("body", b""))
        except TimeoutError:
            return
