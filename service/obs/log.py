"""
Set-up of structlog: one JSON object a line, or colours on a terminal.

stdout and stderr of the process become streams that never block and never raise: whatever is
written there, tracebacks included, waits in a bounded queue for a thread that writes.
"""

import io
import logging
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, Literal, TextIO, cast

import msgspec
import structlog

from service.obs.lines import Lines
from service.obs.sink import Cause, Sink, Stream

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Without the locals of the frames: they hold keys and payloads.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_CONSOLE: Final = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)
# Elements of a list in a line that is too long, such as the frames of a traceback: the first
# number with which the line fits; and the characters of a text for each of them.
_LENGTHS_MAX: Final = (16, 8, 4, 2, 1)
_CHARACTERS_MAX: Final = 64
_sinks: list[Sink] = []
_lines: Lines | None = None


def configure(level: str, log_format: Literal["auto", "json", "console"]) -> None:
    """Set up the logs of this process, those of the libraries included."""
    global _lines  # noqa: PLW0603 - the set-up of logs is the process's
    number = _LEVELS[level]
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    is_console = log_format == "console" or (log_format == "auto" and is_terminal)
    stream = _write_apart(_say_on_console if is_console else _say_as_json)
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


def take_dropped() -> "Counter[Cause]":
    """Return how many lines this process has dropped since the last call, by cause."""
    return sum((sink.take_dropped() for sink in _sinks), Counter())


def drain(timeout_s: float) -> None:
    """Wait until the queued lines are written, for up to *timeout_s* (seconds) in all."""
    deadline = time.monotonic() + timeout_s
    for sink in _sinks:
        sink.drain(max(deadline - time.monotonic(), 0))


def info_lines() -> Lines | None:
    """
    Return where ready JSON lines of level info go, past structlog: it takes five times as long.

    None: they are to have another format, or not to be written.
    """
    return _lines


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
    # Of the libraries only what an operator can act on: their progress is no news.
    root.setLevel(max(level, logging.WARNING))


def _write_apart(notice: Callable[[int], bytes]) -> BinaryIO:
    """Make stdout and stderr streams that a thread writes; return the binary stdout."""
    if not _sinks:
        sys.stdout, sys.stderr = _apart(sys.stdout, notice), _apart(sys.stderr, notice)
    return sys.stdout.buffer


def _apart(file: TextIO | None, notice: Callable[[int], bytes]) -> TextIO:
    # None: the process was started with the descriptor closed. Its number may belong to a
    # connection by now.
    fd = os.open(os.devnull, os.O_WRONLY) if file is None else file.fileno()
    if file is not None:
        file.flush()
    sink = Sink(fd, notice)
    _sinks.append(sink)
    stream = cast("BinaryIO", Stream(sink, fd))
    return io.TextIOWrapper(stream, "utf-8", "backslashreplace", line_buffering=True)


def _never_raising(wrapper: Any) -> Any:
    """Let a line that cannot be written as text be counted as dropped, instead of raising."""

    class Logger(wrapper):  # type: ignore[misc]
        def _proxy_to_logger(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super()._proxy_to_logger(*args, **kwargs)
            except Exception:  # noqa: BLE001 - what the caller does matters more than its line
                _sinks[0].drop(1, "not_text")

    return Logger


def _say_as_json(dropped: int) -> bytes:
    return _ENCODER.encode(_notice(dropped)) + b"\n"


def _say_on_console(dropped: int) -> bytes:
    return f"{_CONSOLE(None, '', _notice(dropped))}\n".encode()


def _notice(dropped: int) -> structlog.typing.EventDict:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"lines": dropped, "event": "log_lines_dropped", "level": "warning", "timestamp": now}


def _to_json(_logger: Any, _name: str, event: structlog.typing.EventDict) -> bytes:
    return _encoded(event)


def _to_json_text(_logger: Any, _name: str, event: structlog.typing.EventDict) -> str:
    return _encoded(event).decode()


def _encoded(event: structlog.typing.EventDict) -> bytes:
    """Encode *event*, shortened where a pipe could mix the line with those of other workers."""
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
        # The last ones: of a traceback they are nearest to the error.
        return [_shortened(element, length_max) for element in value[-length_max:]]
    if isinstance(value, str) and len(value) > length_max * _CHARACTERS_MAX:
        return value[: length_max * _CHARACTERS_MAX] + "…"
    return value
