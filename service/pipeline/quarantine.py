"""The budget of the quarantine: how many rejected events are stored, and how large."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec
from cachetools import TTLCache

from service.clock import Clock

_WINDOW_S: Final = 60
# If more keys than this send rejected events in one minute, the counts of the least recently used
# keys start again at zero.
_KEYS_MAX: Final = 10_000
# What a row takes on disk beside its payload, at most: columns, index entry, unused space in pages.
_ROW_DISK_BYTES: Final = 1_024
_UNUSED_DISK: Final = 1 / 4

ReachedLimit = Literal["rows", "bytes", "table"]
"""The limit that was reached: rows or bytes per key and minute, or the size of the table."""


class QuarantineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """
    How much is stored in `rejected_events`, by all workers of the service together.

    `rows_per_minute` and `bytes_per_minute` are for each key. `table_bytes_max`: disk space of the
    table.
    """

    rows_per_minute: int
    bytes_per_minute: int
    table_bytes_max: int

    def share(self, workers: int) -> "QuarantineLimits":
        """Return the equal part of each of *workers*; no worker knows what the others have used."""
        return QuarantineLimits(
            rows_per_minute=self.rows_per_minute // workers,
            bytes_per_minute=self.bytes_per_minute // workers,
            table_bytes_max=self.table_bytes_max // workers,
        )


class _Taken(msgspec.Struct):
    rows: int = 0
    size_bytes: int = 0


class QuarantineBudget:
    """
    Decides which rejected events are stored: limited per key and minute, and by the table's size.

    One per worker. Before the first measurement the table counts as empty.
    """

    def __init__(
        self,
        clock: Clock,
        limits: QuarantineLimits,
        on_drop: Callable[[ReachedLimit], None],
        *,
        workers: int = 1,
    ) -> None:
        """*on_drop* is called for each rejected event that is not stored."""
        self._limits = limits.share(workers)
        self._table_bytes_max = limits.table_bytes_max
        self._workers = workers
        self._on_drop = on_drop
        self._taken: TTLCache[str, _Taken] = TTLCache(
            maxsize=_KEYS_MAX, ttl=_WINDOW_S, timer=clock.monotonic
        )
        self._table_bytes_left = self._limits.table_bytes_max

    @property
    def is_table_full(self) -> bool:
        """Whether the table has, or may have, reached its limit."""
        return self._table_bytes_left <= 0

    def table_measured(self, size_bytes: int) -> None:
        """Note the size of the table; until the next call, a part of what is left may be used."""
        self._table_bytes_left = max(self._table_bytes_max - size_bytes, 0) // self._workers

    def take(self, key_id: str, size_bytes: int) -> bool:
        """Return whether one more rejected event of this key and size may be stored."""
        cause = self._refusal(self._of_key(key_id), size_bytes)
        if cause is None:
            return True
        self._on_drop(cause)
        return False

    def _of_key(self, key_id: str) -> _Taken:
        taken = self._taken.get(key_id)
        if taken is None:
            taken = self._taken[key_id] = _Taken()
        return taken

    def _refusal(self, taken: _Taken, size_bytes: int) -> ReachedLimit | None:
        if taken.rows >= self._limits.rows_per_minute:
            return "rows"
        if taken.size_bytes + size_bytes > self._limits.bytes_per_minute:
            return "bytes"
        disk_bytes = size_bytes + int(size_bytes * _UNUSED_DISK) + _ROW_DISK_BYTES
        if disk_bytes > self._table_bytes_left:
            self._table_bytes_left = 0
            return "table"
        taken.rows += 1
        taken.size_bytes += size_bytes
        self._table_bytes_left -= disk_bytes
        return None
