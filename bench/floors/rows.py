"""Flushes made beforehand by the service's own core: what a try sends to PostgreSQL, as bytes."""

import itertools
import json
import random
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from bench.events import EventMaker
from service import _native
from service.pipeline.check import Arrival, random_row_ids
from service.store.connections import RowTypes

_KINDS: Final = 16
_EVENTS: Final = 50


class Flush(NamedTuple):
    """What one transaction stores: how many rows, their places in the ledger, and the events."""

    rows: int
    ledger: bytes
    copy: bytes


class Owner(NamedTuple):
    """Whose the events are."""

    tenant_id: int
    workspace_id: int


class Flushes:
    """Makes flushes with new ids."""

    def __init__(self, owners: list[Owner], types: RowTypes, seed: int) -> None:
        self._owners = owners
        self._types = types
        self._random = random.Random(seed)
        self._ids = random_row_ids()
        maker = EventMaker(seed)
        self._kinds = [_with_open_ids(maker.batch(_EVENTS)) for _ in range(_KINDS)]

    def make(self, rows: int) -> Flush:
        """Make one of *rows* rows, from requests of a batch each."""
        parts = [self._payload().part(0, rows - start) for start in range(0, rows, _EVENTS)]
        plan = _native.Plan(parts)
        return Flush(len(plan), plan.ledger(self._types.ledger_row), plan.copy([]))

    def _payload(self) -> _native.Rows:
        ids = tuple(f"{self._random.getrandbits(128):032x}" for _ in range(_EVENTS))
        scanned = _native.scan_batch((self._random.choice(self._kinds) % ids).encode(), _EVENTS)
        assert isinstance(scanned, _native.Scan)
        owner = self._random.choice(self._owners)
        arrival = Arrival(*owner, "bench", 1, "1.0", time.time_ns() // 1_000)
        payload, refused = scanned.rows(self._ids, arrival)
        assert not refused
        return payload


def batches(flushes: Flushes, rows: int, per_flush: int) -> Iterator[Flush]:
    """Make flushes of *per_flush* rows until there are *rows*."""
    return (flushes.make(per_flush) for _ in itertools.repeat(None, -(-rows // per_flush)))


def _with_open_ids(batch: dict[str, object]) -> str:
    events = batch["batch"]
    assert isinstance(events, list)
    events = [event | {"messageId": "%s"} for event in events]
    return json.dumps(batch | {"batch": events}, separators=(",", ":"))
