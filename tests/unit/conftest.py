"""What unit tests share: plain tracebacks in logs, as pretty ones take a third of a second."""

import pytest
import structlog


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])
