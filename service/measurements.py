"""Measurements that no request makes: the size of the quarantine, and the database connections."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from service.clock import Clock
from service.pipeline.quarantine import QuarantineBudget

log = structlog.get_logger()

_INTERVAL_S: Final = 5.0
# Pause between two log lines about the same problem.
_LOG_S: Final = 60.0


class Measurements:
    """Measures every few seconds, and logs once a minute that the quarantine is full."""

    def __init__(
        self,
        quarantine_bytes: Callable[[], Awaitable[int]],
        budget: QuarantineBudget,
        clock: Clock,
        on_measured: Callable[[int | None], None],
    ) -> None:
        """
        *quarantine_bytes* asks the database.

        *on_measured* gets the answer after each measurement; None: the database did not answer.
        """
        self._quarantine_bytes = quarantine_bytes
        self._budget = budget
        self._clock = clock
        self._on_measured = on_measured
        self._log_at = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.measure()
            await asyncio.sleep(_INTERVAL_S)

    async def measure(self) -> None:
        """Measure once; without an answer the budget goes on with what is left of it."""
        was_full = self._budget.is_table_full
        size_bytes: int | None = None
        try:
            size_bytes = await self._quarantine_bytes()
        except Exception as error:  # noqa: BLE001 - it is repeated
            self._log("quarantine_not_measured", error=type(error).__name__)
        else:
            self._budget.table_measured(size_bytes)
            if was_full or self._budget.is_table_full:
                self._log(
                    "quarantine_full",
                    size_bytes=size_bytes,
                    setting="FOREBAY_QUARANTINE_BYTES_MAX",
                    advice="remove old partitions of rejected_events, or raise the limit",
                )
        self._on_measured(size_bytes)

    def _log(self, event: str, **fields: str | int) -> None:
        now = self._clock.monotonic()
        if now >= self._log_at:
            self._log_at = now + _LOG_S
            log.warning(event, **fields)
