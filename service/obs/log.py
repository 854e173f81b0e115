"""Set-up of structlog: one JSON object a line, or colours on a terminal."""

import logging
import sys
from typing import Any, Final, Literal

import msgspec
import structlog

from service.obs.lines import Lines

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Without the locals of the frames: they hold keys and payloads.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_CONSOLE: Final = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)
_lines: Lines | None = None


def configure(level: str, log_format: Literal["auto", "json", "console"]) -> None:
    """Set up the logs of this process, those of the libraries included."""
    global _lines  # noqa: PLW0603 - the set-up of logs is the process's
    number = _LEVELS[level]
    is_console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_console:
        structlog.configure(
            processors=[*shared, _CONSOLE],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=structlog.PrintLoggerFactory(),
            cache_logger_on_first_use=True,
        )
        renderers: list[structlog.typing.Processor] = [_CONSOLE]
        _lines = None
    else:
        structlog.configure(
            processors=[*shared, _TRACEBACKS, _to_json],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
            cache_logger_on_first_use=True,
        )
        renderers = [_TRACEBACKS, _to_json_text]
        _lines = Lines(sys.stdout.buffer) if number <= logging.INFO else None
    _adopt_standard_logging(number, shared, renderers)


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


def _to_json(_logger: Any, _name: str, event: structlog.typing.EventDict) -> bytes:
    return _ENCODER.encode(event)


def _to_json_text(_logger: Any, _name: str, event: structlog.typing.EventDict) -> str:
    return _ENCODER.encode(event).decode()
