"""How many refused events are kept: a budget per key, so that nobody fills the disk with them."""

from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from service.clock import Clock

_WINDOW_S: Final = 60
# Past so many keys in one minute the least recent one starts its count anew: still bounded.
_KEYS_MAX: Final = 10_000


class QuarantineBudget:
    """Counts refused events per key and minute."""

    def __init__(self, clock: Clock, rows_per_minute: int, on_drop: Callable[[int], None]) -> None:
        """*on_drop* counts what is over a budget."""
        self._on_drop = on_drop
        self._rows_per_minute = rows_per_minute
        self._spent: TTLCache[str, list[int]] = TTLCache(
            maxsize=_KEYS_MAX, ttl=_WINDOW_S, timer=clock.monotonic
        )

    def take(self, key_id: str) -> bool:
        """Return whether one more refused event of this key may be kept."""
        spent = self._spent.get(key_id)
        if spent is None:
            spent = self._spent[key_id] = [0]
        spent[0] += 1
        if spent[0] <= self._rows_per_minute:
            return True
        self._on_drop(1)
        return False
