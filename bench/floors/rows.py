"""Flushes made beforehand: the ledger's arrays, and the events as PGCOPY binary."""

import hashlib
import itertools
import json
import random
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

COLUMNS: Final = (
    *("id", "tenant_id", "workspace_id", "event_id"),
    *("type", "event", "name", "category"),
    *("user_id", "anonymous_id", "group_id", "previous_id"),
    *("properties", "traits", "context", "extra"),
    *("schema_version", "request_id"),
    *("original_timestamp", "sent_at", "received_at", "timestamp"),
)
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_NULL: Final = struct.pack(">i", -1)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_JSONB_VERSION: Final = b"\x01"
_KINDS: Final = 64
_HEADER: Final = struct.Struct(">hiqiqiqi")


class Flush(NamedTuple):
    """What one transaction stores, sorted by the ledger's key."""

    ledger: tuple[list[Any], ...]
    copy: bytes


class Owner(NamedTuple):
    """Whose the events are."""

    tenant_id: int
    workspace_id: int


class Flushes:
    """Makes flushes with new ids."""

    def __init__(self, owners: list[Owner], seed: int) -> None:
        self._owners = owners
        self._random = random.Random(seed)
        # A run's ids begin at its own time, as the service's do.
        self._ids = itertools.count(time.time_ns() // 1_000_000 << 22)
        self._kinds = [_content(number, self._random) for number in range(_KINDS)]

    def make(self, rows: int) -> Flush:
        """Make one of *rows* rows."""
        received_at = datetime.now(UTC)
        tail = _tail(received_at)
        made = sorted(self._row(tail) for _ in range(rows))
        ledger = (
            [tenant_id for tenant_id, *_ in made],
            [key for _, key, *_ in made],
            [id_ for _, _, id_, _ in made],
            [self._random.getrandbits(62) for _ in made],
            [received_at] * rows,
        )
        return Flush(ledger, _SIGNATURE + b"".join(row for *_, row in made) + _TRAILER)

    def _row(self, tail: bytes) -> tuple[int, bytes, int, bytes]:
        chance = self._random.getrandbits(128)
        owner = self._owners[chance % len(self._owners)]
        event_id = b"%032x" % chance
        id_ = next(self._ids)
        head = _HEADER.pack(
            len(COLUMNS), 8, id_, 8, owner.tenant_id, 8, owner.workspace_id, len(event_id)
        )
        row = head + event_id + self._kinds[(chance >> 64) % _KINDS] + tail
        return owner.tenant_id, hashlib.sha256(event_id).digest()[:16], id_, row


def batches(rows: int, per_flush: int, owners: list[Owner], seed: int) -> Iterator[Flush]:
    """Make flushes of *per_flush* rows until there are *rows*."""
    flushes = Flushes(owners, seed)
    return (flushes.make(per_flush) for _ in range(-(-rows // per_flush)))


def _content(number: int, source: random.Random) -> bytes:
    """Return the middle columns of one kind of event, as long as those that the generator sends."""
    user = b"%08d" % source.randrange(10**8)
    properties = {
        "order_id": user.decode(),
        "total": round(source.random() * 1000, 2),
        "currency": "EUR",
        "quantity": source.randrange(1, 10),
        "sku": f"SKU-{source.randrange(10_000):05}",
        "is_gift": False,
        "coupon": None,
        "categories": ["garden", "tools"],
    }
    page = source.randrange(1_000)
    context = {
        "ip": "203.0.113.7",
        "locale": "de-CH",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0",
        "page": {"path": f"/products/{page}", "title": f"Product {page}"},
        "library": {"name": "analytics-node", "version": "3.1.0"},
    }
    is_track = number % 5 != 0
    return b"".join(
        (
            _field(b"track" if is_track else b"identify"),
            _field(b"Order Completed" if is_track else None),
            *(_NULL, _NULL),
            *(_field(b"user-" + user), _field(b"anon-" + user)),
            *(_NULL, _NULL),
            *((_json(properties), _NULL) if is_track else (_NULL, _json(properties))),
            *(_json(context), _NULL),
        )
    )


def _tail(received_at: datetime) -> bytes:
    micros = (received_at - _EPOCH) // timedelta(microseconds=1)
    moment = _field(struct.pack(">q", micros))
    request_id = _field(struct.pack(">q", 1 << 40))
    return _field(b"1.0") + request_id + moment + _NULL + moment + moment


def _json(content: object) -> bytes:
    return _field(_JSONB_VERSION + json.dumps(content, separators=(",", ":")).encode())


def _field(value: bytes | None) -> bytes:
    return _NULL if value is None else struct.pack(">i", len(value)) + value
