"""
The log of a process: one JSON object per line, for every writer, and no secret.

If these tests fail: log lines are lost, cannot be parsed, or contain keys and payloads.
"""

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SETUP = """
import logging, structlog
from service.obs import log as logs
logs.configure({level!r}, {log_format!r})
log = structlog.get_logger()
"""

REQUESTS = """
import asyncio
from service.edge.access import AccessLog
from service.obs.metrics import Metrics
from service.pipeline.ingest import Request
requests = AccessLog(Metrics(), is_on=True)
def answer(endpoint="page", status=200):
    request = Request(id=1, id_text="id", method="GET", endpoint=endpoint, body=None)
    requests.answered(request, status, None, 0.0015)
"""


def run(code: str, level: str = "info", log_format: str = "json") -> str:
    """Return what *code* logs, in a process of its own: the set-up of logs is global."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP.format(level=level, log_format=log_format) + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def lines(code: str, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(code, level).splitlines()]


FAILING = """
def authenticate():
    key = "the-" + "secret"
    raise ValueError("it failed")
try:
    authenticate()
except ValueError:
    {log}
"""


def test_json_lines_whoever_writes_them_and_no_locals_in_tracebacks() -> None:
    written = lines(
        FAILING.format(log='log.exception("request_failed", rows=3)')
        + FAILING.format(log='logging.getLogger("asyncio").exception("loop")')
        + """
class Odd:
    def __repr__(self): return "odd"
log.info("with\\nnewline", odd=Odd(), none=None, text="\\u00e9\\x00")
log.debug("below the level")
logging.getLogger("granian").info("progress of a library")
"""
    )

    assert ["request_failed", "loop", "with\nnewline"] == [line["event"] for line in written]
    assert ["error", "error", "info"] == [line["level"] for line in written]
    assert all(line["timestamp"].endswith("Z") for line in written)
    assert (3, "asyncio") == (written[0]["rows"], written[1]["logger"])
    assert ("odd", None, "\u00e9\x00") == tuple(
        written[2][name] for name in ("odd", "none", "text")
    )
    for line in written[:2]:
        (fault,) = line["exception"]
        assert ("ValueError", "it failed") == (fault["exc_type"], fault["exc_value"])
        assert "authenticate" in str(fault["frames"])
        assert "the-secret" not in str(line)


def test_a_line_with_a_long_traceback_fits_into_one_write_to_a_pipe() -> None:
    """A pipe that several processes share may mix longer lines."""
    code = """
def dive(depth):
    if depth == 0:
        raise ValueError("it failed" + " badly" * 1000)
    try:
        dive(depth - 1)
    except ValueError as error:
        raise RuntimeError("so this failed" + "!" * 1000) from error
try:
    dive(30)
except RuntimeError:
    log.exception("request_failed", rows=3)
    logging.getLogger("asyncio").exception("loop")
"""
    written = run(code).splitlines()

    assert ["request_failed", "loop"] == [json.loads(line)["event"] for line in written]
    assert max(len(line.encode()) for line in written) < select.PIPE_BUF
    for line in written:
        assert "it failed" in json.loads(line)["exception"][-1]["exc_value"]
        assert "dive" in str(json.loads(line)["exception"][-1]["frames"])


def test_a_console_gets_text_without_locals() -> None:
    written = run(
        FAILING.format(log='log.exception("request_failed", rows=3)')
        + FAILING.format(log='logging.getLogger("asyncio").exception("loop")'),
        log_format="console",
    )

    assert "request_failed" in written
    assert "it failed" in written
    assert "the-secret" not in written


def test_the_level_counts_for_us_and_for_the_libraries() -> None:
    written = lines(
        'log.warning("ours"); logging.getLogger("x").warning("theirs"); log.error("bad")', "error"
    )

    assert ["bad"] == [line["event"] for line in written]


BROKEN = """
class Broken:
    def __repr__(self): raise ValueError("no text")
log.warning("first", odd=Broken())
log.warning("surrogate", text="\\ud800")
log.warning("second")
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_that_cannot_be_text_raises_nothing_and_is_counted(log_format: str) -> None:
    written = run(BROKEN + "assert logs.take_dropped()['not_text'] >= 1", "info", log_format)

    assert "second" in written
    assert "log_lines_dropped" in written


def test_tracebacks_and_prints_take_the_same_way_and_are_out_at_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETUP.format(level="info", log_format="json") + "print(1)\n1 / 0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "1\n"
    assert "ZeroDivisionError" in done.stderr


def test_without_stdout_the_process_continues() -> None:
    """The number of a descriptor that was closed from the start soon belongs to another file."""
    code = SETUP.format(level="info", log_format="auto") + "log.info('one'); print('two')"

    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert done.stderr == ""


def test_a_request_is_logged_though_its_event_loop_breaks() -> None:
    written = run(
        REQUESTS
        + """
async def main():
    answer()
    raise SystemExit
asyncio.run(main())
"""
    )

    assert "page" == json.loads(written)["endpoint"]


def test_a_request_has_the_same_fields_at_every_level_and_format() -> None:
    lines = [json.loads(run(REQUESTS + "answer()", level)) for level in ("info", "debug")]
    console = run(REQUESTS + "answer()", log_format="console")

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


def test_a_successful_probe_is_logged_at_level_debug_only() -> None:
    code = "answer('health_live'); answer('health_live', 503)"

    statuses = {
        level: [json.loads(line)["status"] for line in run(REQUESTS + code, level).splitlines()]
        for level in ("debug", "info", "warning")
    }

    assert {"debug": [200, 503], "info": [503], "warning": []} == statuses
