"""Upkeep of the partitions: the partitions of the coming days are created in advance."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from service.clock import Clock
from service.store.partitions import top_up_partitions

log = structlog.get_logger()

_INTERVAL_S: Final = 3600.0
_RETRY_MIN_S: Final = 10.0
_RETRY_MAX_S: Final = 600.0


class PartitionUpkeep:
    """Creates missing day partitions every hour; after a failure it retries sooner."""

    def __init__(
        self, pool: Any, clock: Clock, on_top_up: Callable[[int, list[str]], None]
    ) -> None:
        """*on_top_up* gets `TopUp.days_ahead`, and the table of each partition that failed."""
        self._pool = pool
        self._clock = clock
        self._on_top_up = on_top_up

    async def run(self) -> None:
        """Run until cancelled."""
        retry_s = _RETRY_MIN_S
        while True:
            if await self._top_up():
                pause_s, retry_s = _INTERVAL_S, _RETRY_MIN_S
            else:
                pause_s, retry_s = retry_s, min(retry_s * 2, _RETRY_MAX_S)
            await asyncio.sleep(pause_s)

    async def _top_up(self) -> bool:
        """Create the missing partitions; return whether none is missing now."""
        try:
            done = await top_up_partitions(self._pool, self._clock.now().date())
        except Exception as error:  # noqa: BLE001 - there are partitions for a week; it is retried
            log.warning("partition_top_up_failed", error=type(error).__name__)
            return False
        failed = [partition.parent for partition in done.failed]
        self._on_top_up(done.days_ahead, failed)
        return not failed
