"""The label `key` of metrics: ids of a limited number of keys, the same ones in all workers."""

from typing import Final

KEYS_MAX: Final = 50
OTHER: Final = "other"
"""The label of all further keys. No key has this id."""
_ID_BYTES: Final = 12
_FREE: Final = bytes(_ID_BYTES)
MEMORY_BYTES: Final = KEYS_MAX * _ID_BYTES
"""Size of the memory that the workers share. New memory is filled with zeros."""


class KeyLabels:
    """
    Gives the first keys a label of their own, for as long as the service runs.

    Every worker has an object of this class, with the same memory: a slot for the id of each key.
    It has no lock, which a killed worker would keep. If two workers write to one slot in the same
    moment, there may be one label more.
    """

    def __init__(self, memory: memoryview) -> None:
        """*memory*: MEMORY_BYTES, shared by the workers."""
        self._memory = memory
        self._labelled: set[str] = set()
        self._is_full = False

    def label(self, key_id: str) -> str:
        """Return the label of a key: its id, or OTHER if other keys have all the labels."""
        if key_id in self._labelled:
            return key_id
        if not self._is_full:
            self._is_full = not self._find_or_claim(key_id)
        return key_id if key_id in self._labelled else OTHER

    def _find_or_claim(self, key_id: str) -> bool:
        """Learn the labels up to the one of this key; return whether it has one."""
        wanted = key_id.encode()
        for start in range(0, MEMORY_BYTES, _ID_BYTES):
            slot = self._memory[start : start + _ID_BYTES]
            if slot == _FREE:
                slot[:] = wanted
            # Another worker may have written to the slot at the same time.
            self._labelled.add(str(slot, "latin-1"))
            if slot == wanted:
                return True
        return False
