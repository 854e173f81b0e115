"""
Request log lines: those of one iteration of the event loop are written together and in order.

If these tests fail: an operator misses lines of requests, or they have wrong times.
"""

import asyncio
import io
import json
from datetime import UTC, datetime

import msgspec

from service.obs.log import Lines


class Said(msgspec.Struct):
    """A line that says one thing."""

    text: str
    timestamp: datetime | None = None


class Pipe(io.BytesIO):
    """Keeps what each write brought."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []

    def write(self, part: bytes, /) -> int:  # type: ignore[override]
        self.parts.append(part)
        return super().write(part)


def said(part: bytes) -> list[str]:
    """Return what the lines of *part* say."""
    return [json.loads(line)["text"] for line in part.splitlines()]


async def test_the_lines_of_one_loop_iteration_are_one_write() -> None:
    pipe = Pipe()
    lines = Lines(pipe)

    for text in ("one", "two"):
        lines.add(Said(text))
    before = list(pipe.parts)
    await asyncio.sleep(0)
    lines.add(Said("three"))
    await asyncio.sleep(0)

    assert [] == before
    assert [["one", "two"], ["three"]] == [said(part) for part in pipe.parts]


async def test_a_line_is_stamped_when_it_is_written() -> None:
    pipe = Pipe()
    lines = Lines(pipe)

    lines.add(Said("one"))
    added = datetime.now(UTC)
    await asyncio.sleep(0)

    (line,) = pipe.parts
    assert added <= datetime.fromisoformat(json.loads(line)["timestamp"]) <= datetime.now(UTC)


def test_without_a_loop_a_line_is_written_at_once() -> None:
    pipe = Pipe()

    Lines(pipe).add(Said("one"))

    assert ["one"] == said(pipe.getvalue())
