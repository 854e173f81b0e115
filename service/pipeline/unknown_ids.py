"""The ids that were looked up and belong to no API key."""

from service.clock import Clock


class UnknownIds:
    """
    Remembers ids without a key, each for a limited time.

    An id that is sent again moves to a part of its own. So made-up ids, each sent once, do not
    displace the ids of senders that use a wrong key all the time.
    """

    def __init__(self, clock: Clock, *, ttl_s: float, ids_max: int) -> None:
        """*ttl_s*: how long an id is remembered, in seconds. *ids_max*: in each of two parts."""
        self._clock = clock
        self._ttl_s = ttl_s
        self._ids_max = ids_max
        # By id, when it is forgotten; in the order of insertion.
        self._once: dict[str, float] = {}
        self._repeated: dict[str, float] = {}

    def add(self, key_id: str) -> None:
        """Remember that *key_id* was looked up and has no key."""
        part = self._repeated if key_id in self._repeated else self._once
        self._put(part, key_id, self._clock.monotonic() + self._ttl_s)

    def recall(self, key_id: str) -> bool:
        """Return whether *key_id* is remembered, and note that it was sent again."""
        expires_at = self._repeated.get(key_id)
        if expires_at is None:
            expires_at = self._once.pop(key_id, None)
            if expires_at is None:
                return False
            # The time stays that of the look-up: a key may have been created since.
            self._put(self._repeated, key_id, expires_at)
        return self._clock.monotonic() < expires_at

    def forget(self, key_id: str) -> None:
        """Require a look-up of *key_id*: a key may have it now."""
        self._once.pop(key_id, None)
        self._repeated.pop(key_id, None)

    def clear(self) -> None:
        """Require a look-up of every id."""
        self._once.clear()
        self._repeated.clear()

    def _put(self, part: dict[str, float], key_id: str, expires_at: float) -> None:
        part.pop(key_id, None)
        part[key_id] = expires_at
        if len(part) > self._ids_max:
            del part[next(iter(part))]
