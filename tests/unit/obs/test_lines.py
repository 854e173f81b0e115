"""Lines of one turn of the loop are written together and in order."""

import asyncio
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from service.obs.lines import Lines

ROOT = Path(__file__).parents[3]
ACCESS = """
import asyncio
from service.edge.access import Access, AccessLog
from service.obs import log as logs
from service.obs.metrics import Metrics
logs.configure({level!r}, {log_format!r})
requests = AccessLog(Metrics(), is_on=True)
def answer(endpoint="page", status=200):
    access = Access(request_id="id", method="GET", endpoint=endpoint)
    requests.answered(access, status, None, 0.0015)
"""


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


def logged(code: str, level: str = "info", log_format: str = "json") -> str:
    """Return what a process of its own writes: the set-up of logs is global."""
    done = subprocess.run(
        [sys.executable, "-c", ACCESS.format(level=level, log_format=log_format) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def said(part: bytes) -> list[str]:
    """Return what the lines of *part* say."""
    return [json.loads(line)["text"] for line in part.splitlines()]


async def test_the_lines_of_one_turn_are_one_write() -> None:
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


def test_a_loop_that_breaks_takes_no_line_with_it() -> None:
    written = logged("""
async def main():
    answer()
    raise SystemExit
asyncio.run(main())
""")

    assert "page" == json.loads(written)["endpoint"]


def test_every_way_to_write_a_request_says_the_same() -> None:
    lines = [json.loads(logged("answer()", level)) for level in ("info", "debug")]
    console = logged("answer()", log_format="console")

    for line in lines:
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "status": 200,
            "duration_ms": 1.5,
            "request_id": "id",
            "method": "GET",
            "endpoint": "page",
            "event": "request",
            "level": "info",
        }
    for word in ("request", "info", "status", "200", "duration_ms", "1.5", "page"):
        assert word in console


def test_a_probe_that_finds_all_well_is_logged_at_level_debug_alone() -> None:
    code = "answer('health_live'); answer('health_live', 503)"

    statuses = {
        level: [json.loads(line)["status"] for line in logged(code, level).splitlines()]
        for level in ("debug", "info", "warning")
    }

    assert {"debug": [200, 503], "info": [503], "warning": []} == statuses
