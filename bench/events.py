"""Events as a web shop sends them, about 560 bytes each, and requests with these events."""

import base64
import itertools
import json
import os
import random
import string
from datetime import UTC, datetime, timedelta
from typing import Any, Final

EventFields = dict[str, Any]
"""The members of one event."""

_ALPHABET: Final = string.ascii_letters + string.digits
_EVENT_ID_CHARS: Final = 22
# Placeholder for an event id in a template.
_OPEN_ID: Final = "%b"
_NAMES: Final = ("Product Viewed", "Product Added", "Checkout Started", "Order Completed")
_CATEGORIES: Final = ("Garden Tools", "Kitchen", "Outdoor Lighting", "Books and Maps")
_PLANS: Final = ("free", "team", "enterprise")
_PAGES: Final = ("https://shop.example.com/c/spring", "https://shop.example.com/basket")
# Enough for different texts, and few enough to stay in the processor's cache.
_TEMPLATES: Final = 32


class EventMaker:
    """Generates events. A seed always gives the same events; two seeds never share an event id."""

    def __init__(self, seed: int | None = None, now: datetime | None = None) -> None:
        """Without *seed* the operating system gives one; without *now* it is the current time."""
        self._random = random.Random(seed)
        self._now = datetime.now(UTC) if now is None else now

    def track(self) -> EventFields:
        """Return a track event."""
        chance = self._random
        return self._event("track") | {
            "event": chance.choice(_NAMES),
            "properties": {
                "product_id": f"sku-{chance.randrange(100_000):05}",
                "category": chance.choice(_CATEGORIES),
                "price": round(chance.uniform(1, 500), 2),
                "quantity": chance.randrange(1, 9),
                "currency": "EUR",
                "coupon": None,
                "is_gift": chance.random() < 0.1,  # noqa: PLR2004 - one in ten
            },
        }

    def identify(self) -> EventFields:
        """Return an identify event."""
        chance = self._random
        number = chance.randrange(1_000_000)
        return self._event("identify") | {
            "traits": {
                "email": f"user-{number:06}@example.com",
                "name": f"Visitor Number {number:06}",
                "plan": chance.choice(_PLANS),
                "logins": chance.randrange(1_000),
                "newsletter": chance.random() < 0.5,  # noqa: PLR2004 - one in two
                "city": "São Paulo",
            },
        }

    def batch(self, count: int) -> dict[str, Any]:
        """Return the body of a batch request: four track events to one identify."""
        events = [self.identify() if number % 5 == 0 else self.track() for number in range(count)]
        return {"batch": events, "sentAt": _iso(self._now)}

    def _event(self, event_type: str) -> EventFields:
        chance = self._random
        age = timedelta(milliseconds=chance.randrange(5_000))
        return {
            "type": event_type,
            "messageId": "".join(chance.choices(_ALPHABET, k=_EVENT_ID_CHARS)),
            "userId": f"user-{chance.randrange(1_000_000):06}",
            "anonymousId": f"{chance.getrandbits(128):032x}",
            "timestamp": _iso(self._now - age),
            "context": {
                "library": {"name": "analytics-node", "version": "2.2.1"},
                "locale": "en-GB",
                "page": {"url": chance.choice(_PAGES), "title": "Everything for the garden"},
                "campaign": {"source": "newsletter", "medium": "email"},
            },
        }


class RequestMaker:
    """Makes HTTP requests from templates; only the event ids of each request are new."""

    def __init__(self, host: str, api_keys: list[str], events: int) -> None:
        """*events* is the number of events in a request; 1 makes requests of one event."""
        self._events = events
        maker, templates = EventMaker(), []
        for number in range(_TEMPLATES):
            batch = maker.batch(max(events, 5))
            one = batch["batch"][number % 5]
            path, body = (one["type"], one) if events == 1 else ("batch", batch)
            for event in batch["batch"]:
                event["messageId"] = _OPEN_ID
            key = base64.b64encode(f"{api_keys[number % len(api_keys)]}:".encode()).decode()
            text = compact_json(body)
            length = len(text) + events * (_EVENT_ID_CHARS - len(_OPEN_ID))
            head = (
                f"POST /v1/{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            )
            templates.append(head.encode() + text)
        self._templates = itertools.cycle(templates)

    def next(self) -> bytes:
        """Return the next request, head and body."""
        digits = os.urandom(self._events * _EVENT_ID_CHARS // 2).hex().encode()
        starts = range(0, len(digits), _EVENT_ID_CHARS)
        ids = tuple(digits[start : start + _EVENT_ID_CHARS] for start in starts)
        return next(self._templates) % ids


def compact_json(value: Any) -> bytes:
    """Return *value* as JSON, as SDKs send it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
