"""
A body on its way in, which a refusal may have to see off.

A connection that is closed while its sender still sends is reset, and the answer is lost with it:
the sender sees a fault of the network, and tries again what was refused for good.
"""

import asyncio
from typing import Any, Final

from service.edge.request import Headers, Receive, content_length

_DISCARDED_BYTES_MAX: Final = 4 * 1024 * 1024
_DISCARD_TIMEOUT_S: Final = 1.0


class Inbound:
    """The messages of one request's body; called like the server's `receive`."""

    def __init__(self, headers: Headers, receive: Receive) -> None:
        self.headers = headers
        self._receive = receive
        self._received = 0
        # Of the last message; None: there was none yet, or a read of one was given up.
        self._more: bool | None = None
        self._is_begun = False

    async def __call__(self) -> Any:
        """Return the next message."""
        self._is_begun, self._more = True, None
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read what is still coming and forget it, within bounds of bytes and time."""
        discarded = 0
        try:
            async with asyncio.timeout(_DISCARD_TIMEOUT_S):
                while discarded < _DISCARDED_BYTES_MAX and self._is_coming():
                    discarded += len((await self()).get("body", b""))
        except TimeoutError:
            return

    def _is_coming(self) -> bool:
        length = content_length(self.headers)
        if self._is_begun:
            return bool(self._more) and self._received != length
        # A sender that asks first whether to go on has not begun.
        return b"expect" not in self.headers and (
            bool(length) or b"transfer-encoding" in self.headers
        )
