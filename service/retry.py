"""Retries an operation until it succeeds, such as connecting to an unavailable database."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from service.store.errors import FailureClass, classify

log = structlog.get_logger()
T = TypeVar("T")

_PAUSE_S: Final = 0.5
_LOG_INTERVAL_S: Final = 5.0


async def retried(
    attempt: Callable[[], Awaitable[T]], event: str, is_final: Callable[[Exception], bool]
) -> T:
    """
    Call *attempt* until it succeeds, without a limit of attempts, and return its result.

    Errors are logged as *event*: the first one at once, then one every 5 s.

    Raises
    ------
    Exception
        An error for which *is_final* is true.
    """
    next_log = -_LOG_INTERVAL_S
    while True:
        try:
            return await attempt()
        except Exception as error:
            if is_final(error):
                raise
            if time.monotonic() >= next_log:
                next_log = time.monotonic() + _LOG_INTERVAL_S
                # Only errors that may be bugs of Forebay are logged with a traceback.
                is_unknown = classify(error) is FailureClass.BUG
                name = type(error).__name__
                # Many network errors have no text.
                reason = str(error) or name
                log.warning(event, pid=os.getpid(), error=name, reason=reason, exc_info=is_unknown)
        await asyncio.sleep(_PAUSE_S)
