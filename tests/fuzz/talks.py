"""What a client does on raw connections, as data."""

import re
from typing import Final, Literal

import msgspec

# The player replaces it with a key of the same length.
KEY: Final = "fb1_".ljust(55, "K")
ID: Final = re.compile(r"E[0-9a-f]{16}")
"""The form of all event ids that a talk sends."""

End = Literal["read", "half close", "reset", "leave"]


class Step(msgspec.Struct):
    """Bytes, as a text in Latin-1, and a pause before them in milliseconds."""

    send: str
    pause_ms: int = 0


class Talk(msgspec.Struct):
    """
    What a client sends on one connection, and how it ends.

    `read`: it reads the answers; otherwise it does not care for them.
    """

    steps: list[Step]
    end: End = "read"
    must_store: list[str] = []
    """Event ids that have to be accepted, as nothing is wrong with the requests."""

    def stream(self, key: str) -> bytes:
        """Return everything that is sent."""
        return "".join(step.send for step in self.steps).replace(KEY, key).encode("latin-1")


class HttpCase(msgspec.Struct):
    """Connections at the same time."""

    talks: list[Talk]
