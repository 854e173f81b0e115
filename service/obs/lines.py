"""Lines of requests, gathered while the loop is busy with others of the same turn."""

import asyncio
import atexit
from datetime import UTC, datetime
from typing import BinaryIO, Final, Protocol

import msgspec

_ENCODER: Final = msgspec.json.Encoder()


class Line(Protocol):
    """What becomes a line: a msgspec struct that bears a time."""

    timestamp: datetime | None
    """When it was written."""


class Lines:
    """Stamps and encodes the lines of one turn of the loop together; at once without a loop."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[Line] = []
        atexit.register(self.write_out)  # a loop that ends or breaks has no next turn

    def add(self, line: Line) -> None:
        """Write *line* when this turn is over."""
        self._waiting.append(line)
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.write_out)
            except RuntimeError:
                self.write_out()

    def write_out(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        now = datetime.now(UTC)
        for line in waiting:
            line.timestamp = now
        self._file.write(_ENCODER.encode_lines(waiting))
