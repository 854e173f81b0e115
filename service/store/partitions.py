"""Day partitions of the tables that hold events: made before a flush needs them."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from service.store.connections import lent
from service.store.errors import NoPartitionError
from service.store.schema import missing_rights
from service.store.sql import statement

log = structlog.get_logger()

_DAYS_BACK: Final = timedelta(days=1)
DAYS_AHEAD: Final = 7
_TIMEOUT_S: Final = 30.0
_EVENTS: Final = "events"


class Partition(msgspec.Struct, frozen=True):
    """The result for one missing partition: its name if it was made, else the problem."""

    parent: str
    utc_day: date
    made: str | None
    """Name of the new partition."""
    problem: str | None
    advice: str | None
    takes_rows: bool
    """Whether rows of that day can be stored: in this partition, or in a DEFAULT partition."""


class TopUp(msgspec.Struct, frozen=True):
    """Outcome of a top-up: the partitions made or not made, and the rights that are missing."""

    today: date
    partitions: list[Partition]
    rights: list[str]

    @property
    def failed(self) -> list[Partition]:
        """Partitions that could not be made."""
        return [partition for partition in self.partitions if partition.made is None]

    @property
    def days_ahead(self) -> int:
        """Number of days after today that take events, up to the first gap; -1: today is a gap."""
        refused = [day.utc_day for day in self.partitions if not day.takes_rows]
        first = min((day for day in refused if day >= self.today), default=None)
        return DAYS_AHEAD if first is None else (first - self.today).days - 1


async def ensure_partitions(pool: Any, first: date, last: date) -> list[Partition]:
    """
    Make the partitions that are missing from *first* to *last* (UTC days).

    Returns one entry for each partition that was missing, and logs those that were not made.
    """
    async with asyncio.timeout(_TIMEOUT_S), lent(pool) as connection:
        gaps = await connection.fetch(statement("find_partition_gaps"), first, last)
        if not gaps:
            return []
        try:
            rows = await connection.fetch(statement("ensure_partitions"), first, last)
        except asyncpg.InsufficientPrivilegeError as error:
            advice = "; ".join(right.sentence for right in await missing_rights(connection))
            outcome = {"made": None, "problem": str(error), "advice": advice}
            rows = [{**gap, **outcome} for gap in gaps]
    partitions = [Partition(**dict(row)) for row in rows]
    _log_problems(partitions)
    return partitions


async def top_up_partitions(pool: Any, today: date) -> TopUp:
    """Make the partitions from yesterday to a week ahead; check the rights for making them."""
    last = today + timedelta(days=DAYS_AHEAD)
    partitions = await ensure_partitions(pool, today - _DAYS_BACK, last)
    async with asyncio.timeout(_TIMEOUT_S), lent(pool) as connection:
        rights = [right.sentence for right in await missing_rights(connection)]
    top_up = TopUp(today, partitions, rights)
    if rights:
        stored_until = today + timedelta(days=top_up.days_ahead)
        log.error(
            "partition_rights_missing",
            problems=rights,
            events_can_be_stored_until=stored_until.isoformat(),
        )
    return top_up


async def require_partition(pool: Any, today: date) -> None:
    """
    Make today's partition if it is missing; a worker needs no other partition to start.

    Raises
    ------
    NoPartitionError
        Events of today cannot be stored.
    """
    for partition in await ensure_partitions(pool, today, today):
        if partition.parent == _EVENTS and not partition.takes_rows:
            raise NoPartitionError(
                f"events has no partition for {today}, and none can be made:"
                f" {partition.problem}; {partition.advice}"
            )


def _log_problems(partitions: Sequence[Partition]) -> None:
    """Log each problem once, with the days that have it."""
    days: dict[tuple[str, str, str | None], list[Partition]] = {}
    for partition in partitions:
        if partition.problem is not None:
            key = (partition.parent, partition.problem, partition.advice)
            days.setdefault(key, []).append(partition)
    for (table, problem, advice), affected in days.items():
        log.warning(
            "partition_not_made" if affected[0].made is None else "partition_name_taken",
            table=table,
            days=[partition.utc_day.isoformat() for partition in affected],
            problem=problem,
            advice=advice,
            rows_are_stored=all(partition.takes_rows for partition in affected),
        )
