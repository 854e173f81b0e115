"""A queue that serves its keys in turn: round robin by cost, so that no key delays the others."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class KeyShare(Generic[Item]):
    """
    The items of one key in the queue, first in, first out, each with its cost.

    `balance`: what the key may still take in this turn; below 0 when its last item cost more.
    """

    __slots__ = ("balance", "cost", "items")

    def __init__(self, balance: int) -> None:
        self.items: deque[tuple[Item, int]] = deque()
        self.cost = 0
        self.balance = balance


class FairQueue(Generic[Item]):
    """
    First in, first out for each key. Between keys: surplus round robin.

    A turn lasts until the items of the turn have cost the quantum. What an item costs beyond it is
    deducted from the next turn of its key, unless the key has nothing more in the queue. With one
    key this is a plain queue.
    """

    def __init__(self, quantum: int) -> None:
        """*quantum*: the cost of a turn."""
        self._quantum = quantum
        # In the order of their turns: the first key is the next one. Every key has an item.
        self._shares: dict[str, KeyShare[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._shares)

    def __contains__(self, key: str) -> bool:
        return key in self._shares

    def __iter__(self) -> Iterator[Item]:
        """Return all items, key by key."""
        return (item for share in self._shares.values() for item, _ in share.items)

    def put(self, key: str, item: Item, cost: int) -> None:
        """Append an item of *key*."""
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = KeyShare(self._quantum)
        share.items.append((item, cost))
        share.cost += cost

    def next(self) -> Item:
        """Return the item whose turn it is, and leave it in the queue."""
        return self._first()[1].items[0][0]

    def pop(self) -> Item:
        """Remove and return the item whose turn it is."""
        key, share = self._first()
        item, cost = share.items.popleft()
        share.cost -= cost
        share.balance -= cost
        if not share.items:
            del self._shares[key]
        return item

    def pop_oldest_while(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Remove and return the oldest items of each key up to the first without *condition*."""
        removed = []
        for key, share in list(self._shares.items()):
            while share.items and condition(share.items[0][0]):
                removed.append(self._removed(key, share.items.popleft()))
        return removed

    def pop_newest(self, key: str) -> Item:
        """Remove and return the newest item of *key*."""
        return self._removed(key, self._shares[key].items.pop())

    def cost_of(self, key: str) -> int:
        """Return the cost of all items of *key*."""
        share = self._shares.get(key)
        return 0 if share is None else share.cost

    def largest(self) -> str:
        """Return the key whose items cost most; the queue is not empty."""
        return max(self._shares, key=self.cost_of)

    def _first(self) -> tuple[str, KeyShare[Item]]:
        while True:
            key, share = next(iter(self._shares.items()))
            if share.balance > 0:
                return key, share
            self._end_turn(key, share)

    def _end_turn(self, key: str, share: KeyShare[Item]) -> None:
        share.balance += self._quantum
        self._shares[key] = self._shares.pop(key)

    def _removed(self, key: str, removed: tuple[Item, int]) -> Item:
        item, cost = removed
        share = self._shares[key]
        share.cost -= cost
        if not share.items:
            del self._shares[key]
        return item
