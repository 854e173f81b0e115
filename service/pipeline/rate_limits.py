"""
Limits of the events per second of a key: token buckets in memory that all workers share.

A full bucket holds the tokens of one second: one token for each event. A request is admitted if
there is at least one token, and takes a token for each of its events. It may take more than there
are: so a batch of any size can be sent, and later requests wait until the debt is paid.

See docs/decisions/0039-rate-limits.md.
"""

import math
from functools import lru_cache
from hashlib import blake2b
from mmap import mmap
from typing import Final

from service.clock import Clock
from service.reasons import Reason, RefusedError

# Tokens of a full bucket, in seconds of its rate. `Retry-After` has whole seconds: with a smaller
# bucket, a sender that obeys it would not reach its rate.
_BURST_S: Final = 1.0
# More than the error of rounding in a sum of monotonic seconds.
_ROUNDING_S: Final = 1e-6
# The buckets are in a set-associative cache: each one can be in any slot of its set.
_SLOTS_OF_A_SET: Final = 8
_SETS: Final = 8_192
_SLOTS: Final = _SETS * _SLOTS_OF_A_SET
_WORD_BYTES: Final = 8
# Tags that a worker need not compute again.
_TAGS_MAX: Final = 4_096
MEMORY_BYTES: Final = 2 * _SLOTS * _WORD_BYTES
"""Size of the memory that the workers share. New memory is filled with zeros."""


class RateLimits:
    """
    Refuses requests of keys that send more events per second than their limit.

    Every worker has an object of this class, with the same memory. It has no lock, which a killed
    worker would keep. Each word is read and written in one step, and one word is the whole state of
    a bucket; if two workers count requests of one key in the same moment, one count can be lost.
    """

    def __init__(self, memory: mmap, clock: Clock) -> None:
        """*memory*: MEMORY_BYTES, shared by the workers."""
        words = memoryview(memory)
        middle = _SLOTS * _WORD_BYTES
        # Which bucket is in a slot.
        self._tags = words[:middle].cast("Q")
        # When the bucket will be full, in monotonic seconds: the same clock in all processes.
        self._full_at = words[middle:MEMORY_BYTES].cast("d")
        self._clock = clock

    def require_token(self, key_id: str, events_per_second: int) -> None:
        """
        Check that the bucket of a key has a token.

        Raises
        ------
        RefusedError
            It has none: the key has reached its limit.
        """
        slot = self._find(_tag(key_id, events_per_second))
        if slot is not None:
            _require_token(self._full_at[slot] - self._clock.monotonic(), events_per_second)

    def take(self, key_id: str, events_per_second: int, events: int) -> None:
        """
        Take a token for each of *events* from the bucket of a key.

        Raises
        ------
        RefusedError
            It has no token; nothing is taken.
        """
        now = self._clock.monotonic()
        tag = _tag(key_id, events_per_second)
        slot = self._find(tag)
        if slot is None:
            slot = self._claim(tag)
        full_at = self._full_at
        _require_token(full_at[slot] - now, events_per_second)
        refill_s = events / events_per_second
        # Read again, so that there is little time in which another worker's count can be lost.
        full_at[slot] = max(full_at[slot], now) + refill_s

    def _find(self, tag: int) -> int | None:
        start = tag % _SETS * _SLOTS_OF_A_SET
        tags = self._tags[start : start + _SLOTS_OF_A_SET].tolist()
        return start + tags.index(tag) if tag in tags else None

    def _claim(self, tag: int) -> int:
        """Put a full bucket in place of the one of its set that is full, or will be full first."""
        start = tag % _SETS * _SLOTS_OF_A_SET
        times = self._full_at[start : start + _SLOTS_OF_A_SET].tolist()
        slot = start + times.index(min(times))
        self._full_at[slot] = 0.0
        self._tags[slot] = tag
        return slot


@lru_cache(_TAGS_MAX)
def _tag(key_id: str, events_per_second: int) -> int:
    """Return the tag of a bucket. A key whose limit was changed has a new bucket, which is full."""
    digest = blake2b(b"%b %d" % (key_id.encode(), events_per_second), digest_size=_WORD_BYTES)
    return int.from_bytes(digest.digest())


def _require_token(full_in_s: float, events_per_second: int) -> None:
    wait_s = full_in_s + 1 / events_per_second - _BURST_S
    if wait_s <= _ROUNDING_S:
        return
    retry_after_s = math.ceil(wait_s)
    counted = math.ceil(full_in_s * events_per_second - _ROUNDING_S)
    raise RefusedError(
        Reason.RATE_LIMITED,
        f"This key may send {events_per_second} events per second; {counted} events that it has"
        f" sent still count. Send again in {retry_after_s} s.",
        limit=events_per_second,
        actual=counted,
        retry_after_s=retry_after_s,
    )
