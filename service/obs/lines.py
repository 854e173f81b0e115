"""Whole lines for stdout, gathered while the loop is busy with others of the same turn."""

import asyncio
import atexit
import select
from typing import BinaryIO


class Lines:
    """
    Writes the lines of one turn of the loop together; where there is no loop, each at once.

    The workers share one pipe: what is longer than PIPE_BUF could be cut in two by another's line.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        atexit.register(self.write_out)  # a loop that ends or breaks has no next turn

    def add(self, line: bytes) -> None:
        """Write *line*, which brings its own end, when this turn is over."""
        self._waiting.append(line)
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.write_out)
            except RuntimeError:
                self.write_out()

    def write_out(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        part = b""
        for line in waiting:
            if len(part) + len(line) > select.PIPE_BUF:
                self._write(part)
                part = b""
            part += line
        self._write(part)

    def _write(self, part: bytes) -> None:
        self._file.write(part)
        self._file.flush()
