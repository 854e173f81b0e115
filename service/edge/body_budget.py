"""The memory of a worker that request bodies may take, and its shares."""

from collections.abc import Callable
from typing import Final

from service.reasons import Reason, RefusedError

_WITHOUT_KEY_PART: Final = 8
_KEY_PART: Final = 2


class BodyBudget:
    """
    Limits the bytes of incomplete request bodies that one worker holds.

    A body of a request without a key in its headers is read only because the key may be in the
    body. All these bodies share an eighth of the limit, so that nobody without a key takes the rest
    of it. The bodies of one key get at most half.
    """

    def __init__(
        self, bytes_max: int, body_bytes_max: int, on_refused: Callable[[str], None]
    ) -> None:
        """
        *bytes_max*: of all bodies; *body_bytes_max*: of one body without a key in the headers.

        *on_refused* gets the name of the limit that is reached: `without_key`, `key` or `worker`.
        """
        self._bytes_max: Final = bytes_max
        self._key_max: Final = bytes_max // _KEY_PART
        # In a smaller share the largest body would never have room.
        self._without_key_max: Final = max(bytes_max // _WITHOUT_KEY_PART, 2 * body_bytes_max)
        self._on_refused: Final = on_refused
        self._held: Final[dict[str | None, int]] = {}
        self.held_bytes = 0
        """Of all bodies, now."""

    def take(self, key_id: str | None, more_bytes: int) -> None:
        """
        Count *more_bytes* of a body; *key_id* is None if the headers have no key.

        Raises
        ------
        RefusedError
            `overloaded`: a limit is reached; nothing is counted.
        """
        held = self._held.get(key_id, 0) + more_bytes
        if key_id is None:
            if held > self._without_key_max:
                text = "bodies of requests without a key in a header"
                raise self._refused("without_key", text, held, self._without_key_max)
        elif held > self._key_max:
            raise self._refused("key", "bodies of requests with this key", held, self._key_max)
        all_bytes = self.held_bytes + more_bytes
        if all_bytes > self._bytes_max:
            raise self._refused("worker", "bodies of requests", all_bytes, self._bytes_max)
        self._held[key_id] = held
        self.held_bytes = all_bytes

    def has_room(self, key_id: str | None, more_bytes: int) -> bool:
        """Whether `take` would count *more_bytes*."""
        share = self._without_key_max if key_id is None else self._key_max
        is_in_share = self._held.get(key_id, 0) + more_bytes <= share
        return is_in_share and self.held_bytes + more_bytes <= self._bytes_max

    def give_back(self, key_id: str | None, fewer_bytes: int) -> None:
        """Stop counting bytes that `take` counted; 0 after its first refusal."""
        if not fewer_bytes:
            return
        self.held_bytes -= fewer_bytes
        held = self._held[key_id] - fewer_bytes
        if held:
            self._held[key_id] = held
        else:
            del self._held[key_id]

    def _refused(self, limit_name: str, text: str, actual: int, limit: int) -> RefusedError:
        self._on_refused(limit_name)
        return RefusedError(
            Reason.OVERLOADED,
            f"Incomplete {text} would take {actual} bytes of memory, and the limit is {limit};"
            " try again.",
            limit=limit,
            actual=actual,
        )
