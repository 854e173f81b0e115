"""Payloads as requests bring them, made by the service's own core; some events come again."""

import json
import random
import time
from collections import deque
from typing import Final

from bench.events import EventMaker
from bench.floors.rows import Owner
from service import _native
from service.model import Payload
from service.pipeline.check import Arrival, random_row_ids
from service.store.flush import Flush, flush_of
from tests.doubles import make_payload

PAYLOAD_EVENTS: Final = 50
_KINDS: Final = 800
_ID: Final = "the-id-of-this-event"
# How far back an event is repeated.
_REMEMBERED: Final = 20_000


class Payloads:
    """Makes payloads of new events, but for a share that is sent again."""

    def __init__(self, owners: list[Owner], seed: int, repeated: float = 0.0) -> None:
        """With a share *repeated* there is to be one owner: elsewhere an id is another event's."""
        assert not repeated or len(owners) == 1
        self._owners = owners
        self._repeated = repeated
        self._random = random.Random(seed)
        self._ids = random_row_ids()
        self._sent: deque[str] = deque(maxlen=_REMEMBERED)
        batch = EventMaker(seed).batch(_KINDS)
        self._sent_at = batch["sentAt"]
        self._kinds = [_text(event | {"messageId": _ID}) for event in batch["batch"]]

    def payload(self, events: int) -> Payload:
        """Make one request's."""
        texts = [self._event() for _ in range(events)]
        self._sent.extend(texts)
        body = f'{{"batch":[{",".join(texts)}],"sentAt":"{self._sent_at}"}}'.encode()
        scanned = _native.scan_batch(body, events)
        assert isinstance(scanned, _native.Scan)
        owner = self._random.choice(self._owners)
        arrival = Arrival(*owner, "bench", 1, "1.0", time.time_ns() // 1_000)
        rows, refused = scanned.rows(self._ids, arrival)
        assert not refused
        return make_payload(rows)

    def flush(self, rows: int) -> Flush:
        """Make a flush of so many rows, from requests of a batch each."""
        counts = range(0, rows, PAYLOAD_EVENTS)
        payloads = [self.payload(min(rows - start, PAYLOAD_EVENTS)) for start in counts]
        return flush_of([payload.events for payload in payloads], [])

    def _event(self) -> str:
        if self._sent and self._random.random() < self._repeated:
            return self._random.choice(self._sent)
        event_id = f"{self._random.getrandbits(128):032x}"
        return self._random.choice(self._kinds).replace(_ID, event_id)


def _text(event: dict[str, object]) -> str:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)
