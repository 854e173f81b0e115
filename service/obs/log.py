"""
Set-up of structlog: one JSON object per line, or colours on a terminal.

stdout and stderr of the process become streams that never block and never raise: everything that is
written to them, tracebacks included, goes to a bounded queue, and a thread writes it.
"""

import asyncio
import atexit
import io
import logging
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, Literal, Protocol, TextIO, cast

import msgspec
import structlog

from service.obs.sink import DropCause, Sink, Stream

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Without the local variables of the frames: they contain keys and payloads.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_CONSOLE: Final = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)
# Limits for a line that is too long, tried in turn until the line fits: elements of a list, such as
# the frames of a traceback. Each text may have 64 characters for each of these elements.
_LENGTHS_MAX: Final = (16, 8, 4, 2, 1)
_CHARACTERS_MAX: Final = 64
_LINE_ENCODER: Final = msgspec.json.Encoder()
_sinks: list[Sink] = []
_lines: "Lines | None" = None


def configure(level: str, log_format: Literal["auto", "json", "console"]) -> None:
    """Set up the logs of this process, including those of the libraries."""
    global _lines  # noqa: PLW0603 - logs are set up per process
    number = _LEVELS[level]
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    is_console = log_format == "console" or (log_format == "auto" and is_terminal)
    stream = _replace_streams(_notice_for_console if is_console else _notice_as_json)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, _CONSOLE] if is_console else [*shared, _TRACEBACKS, _to_json],
        wrapper_class=_never_raising(structlog.make_filtering_bound_logger(number)),
        logger_factory=(
            structlog.WriteLoggerFactory(sys.stdout)
            if is_console
            else structlog.BytesLoggerFactory(stream)
        ),
        cache_logger_on_first_use=True,
    )
    _lines = Lines(stream) if number <= logging.INFO and not is_console else None
    _adopt_standard_logging(
        number, shared, [_CONSOLE] if is_console else [_TRACEBACKS, _to_json_text]
    )


def take_dropped() -> "Counter[DropCause]":
    """Return how many lines this process has dropped since the last call, by cause."""
    return sum((sink.take_dropped() for sink in _sinks), Counter())


def drain(timeout_s: float) -> None:
    """Wait until the queued lines are written, for up to *timeout_s* (seconds) in all."""
    deadline = time.monotonic() + timeout_s
    for sink in _sinks:
        sink.drain(max(deadline - time.monotonic(), 0))


def info_lines() -> "Lines | None":
    """
    Return a writer of JSON lines at level info. It needs a fifth of the time of structlog.

    None: the configured format is not JSON, or the configured level is above info.
    """
    return _lines


class Line(Protocol):
    """A msgspec struct that becomes a line of JSON."""

    timestamp: datetime | None
    """When it was written."""


class Lines:
    """Encodes the lines of one iteration of the event loop together; without a loop, at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending: list[Line] = []
        atexit.register(self.write_pending)  # a loop that ends has no next iteration

    def add(self, line: Line) -> None:
        """Write *line* at the end of this iteration of the loop, and set its timestamp."""
        self._pending.append(line)
        if len(self._pending) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.write_pending)
            except RuntimeError:
                self.write_pending()

    def write_pending(self) -> None:
        """Write the pending lines."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        now = datetime.now(UTC)
        for line in pending:
            line.timestamp = now
        self._file.write(_LINE_ENCODER.encode_lines(pending))


def _adopt_standard_logging(
    level: int,
    shared: list[structlog.typing.Processor],
    renderers: list[structlog.typing.Processor],
) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries log warnings and errors only.
    root.setLevel(max(level, logging.WARNING))


def _replace_streams(notice: Callable[[int], bytes]) -> BinaryIO:
    """Replace stdout and stderr by streams that a thread writes; return the binary stdout."""
    if not _sinks:
        sys.stdout, sys.stderr = _stream(sys.stdout, notice), _stream(sys.stderr, notice)
    return sys.stdout.buffer


def _stream(file: TextIO | None, notice: Callable[[int], bytes]) -> TextIO:
    # None: the process was started with this descriptor closed. Its number may belong to a
    # connection now.
    fd = os.open(os.devnull, os.O_WRONLY) if file is None else file.fileno()
    if file is not None:
        file.flush()
    sink = Sink(fd, notice)
    _sinks.append(sink)
    stream = cast("BinaryIO", Stream(sink, fd))
    return io.TextIOWrapper(stream, "utf-8", "backslashreplace", line_buffering=True)


def _never_raising(wrapper: Any) -> Any:
    """Return a logger class that drops and counts a line that cannot be encoded."""

    class Logger(wrapper):  # type: ignore[misc]
        def _proxy_to_logger(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super()._proxy_to_logger(*args, **kwargs)
            except Exception:  # noqa: BLE001 - a log line must not fail its caller
                _sinks[0].drop(1, "not_text")

    return Logger


def _notice_as_json(dropped: int) -> bytes:
    return _ENCODER.encode(_notice(dropped)) + b"\n"


def _notice_for_console(dropped: int) -> bytes:
    return f"{_CONSOLE(None, '', _notice(dropped))}\n".encode()


def _notice(dropped: int) -> structlog.typing.EventDict:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"lines": dropped, "event": "log_lines_dropped", "level": "warning", "timestamp": now}


def _to_json(_logger: Any, _name: str, event: structlog.typing.EventDict) -> bytes:
    return _encoded(event)


def _to_json_text(_logger: Any, _name: str, event: structlog.typing.EventDict) -> str:
    return _encoded(event).decode()


def _encoded(event: structlog.typing.EventDict) -> bytes:
    """Encode *event*, shortened to the size up to which a pipe does not mix lines of workers."""
    line = _ENCODER.encode(event)
    for length_max in _LENGTHS_MAX:
        if len(line) < select.PIPE_BUF:
            break
        line = _ENCODER.encode(_shortened(event, length_max))
    return line


def _shortened(value: Any, length_max: int) -> Any:
    """Return *value* with at most *length_max* elements in lists, and texts in proportion."""
    if isinstance(value, dict):
        return {name: _shortened(member, length_max) for name, member in value.items()}
    if isinstance(value, list | tuple):
        # The last frames of a traceback are nearest to the error.
        return [_shortened(element, length_max) for element in value[-length_max:]]
    if isinstance(value, str) and len(value) > length_max * _CHARACTERS_MAX:
        return value[: length_max * _CHARACTERS_MAX] + "…"
    return value
