"""Events as a shop's site would send them, about 560 bytes each. The same seed, the same events."""

import random
import string
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Event = dict[str, Any]

_ALPHABET: Final = string.ascii_letters + string.digits
_EVENT_ID_CHARS: Final = 22
_NAMES: Final = ("Product Viewed", "Product Added", "Checkout Started", "Order Completed")
_CATEGORIES: Final = ("Garden Tools", "Kitchen", "Outdoor Lighting", "Books and Maps")
_PLANS: Final = ("free", "team", "enterprise")
_PAGES: Final = ("https://shop.example.com/c/spring", "https://shop.example.com/basket")


class EventMaker:
    """Makes events whose ids nobody else makes, as long as no two makers share a seed."""

    def __init__(self, seed: int | None = None, now: datetime | None = None) -> None:
        """Without a *seed* it is the operating system's, without *now* this moment."""
        self._random = random.Random(seed)
        self._now = datetime.now(UTC) if now is None else now

    def track(self) -> Event:
        """Return something that a user did."""
        chance = self._random
        return self._envelope("track") | {
            "event": chance.choice(_NAMES),
            "properties": {
                "product_id": f"sku-{chance.randrange(100_000):05}",
                "category": chance.choice(_CATEGORIES),
                "price": round(chance.uniform(1, 500), 2),
                "quantity": chance.randrange(1, 9),
                "currency": "EUR",
                "coupon": None,
                "is_gift": chance.random() < 0.1,  # noqa: PLR2004 - a tenth
            },
        }

    def identify(self) -> Event:
        """Return what is known of a user."""
        chance = self._random
        number = chance.randrange(1_000_000)
        return self._envelope("identify") | {
            "traits": {
                "email": f"user-{number:06}@example.com",
                "name": f"Visitor Number {number:06}",
                "plan": chance.choice(_PLANS),
                "logins": chance.randrange(1_000),
                "newsletter": chance.random() < 0.5,  # noqa: PLR2004 - a half
                "city": "São Paulo",
            },
        }

    def batch(self, count: int) -> dict[str, Any]:
        """Return the body of a batch request: four track events to one identify."""
        events = [self.identify() if place % 5 == 0 else self.track() for place in range(count)]
        return {"batch": events, "sentAt": _text(self._now)}

    def _envelope(self, event_type: str) -> Event:
        chance = self._random
        ago = timedelta(milliseconds=chance.randrange(5_000))
        return {
            "type": event_type,
            "messageId": "".join(chance.choices(_ALPHABET, k=_EVENT_ID_CHARS)),
            "userId": f"user-{chance.randrange(1_000_000):06}",
            "anonymousId": f"{chance.getrandbits(128):032x}",
            "timestamp": _text(self._now - ago),
            "context": {
                "library": {"name": "analytics-node", "version": "2.2.1"},
                "locale": "en-GB",
                "page": {"url": chance.choice(_PAGES), "title": "Everything for the garden"},
                "campaign": {"source": "newsletter", "medium": "email"},
            },
        }


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
