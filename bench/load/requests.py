"""Requests of one user: events and batches, of which some are repeated and some are invalid."""

import json
import random
from collections import deque
from typing import Any, Final, NamedTuple

from bench.events import EventFields, EventMaker, compact_json

RETRIED_SHARE: Final = 0.05
REFUSED_SHARE: Final = 0.02  # of the single events
INVALID_BATCH_SHARE: Final = 0.1  # one of its events is rejected, the rest is stored
_BATCH_EVENTS: Final = (5, 20, 50)
_KINDS: Final = ("track", "identify", "batch")
_WEIGHTS: Final = (6, 2, 2)
_REMEMBERED: Final = 20
_OK: Final = 200
_BAD_REQUEST: Final = 400


class UserRequest(NamedTuple):
    """A request, and the expected status of each of its events."""

    path: str
    body: bytes
    expected: tuple[str, ...]

    @property
    def is_to_be_refused(self) -> bool:
        """Whether the service has to answer 400."""
        return self.path != "/v1/batch" and self.expected == ("rejected",)

    @property
    def is_retry(self) -> bool:
        """Whether its events were stored before."""
        return "duplicate" in self.expected

    def again(self) -> "UserRequest":
        """Return the request to send again, for which accepted events become duplicates."""
        statuses = {"accepted": "duplicate"}
        return self._replace(expected=tuple(statuses.get(s, s) for s in self.expected))

    def fault_in(self, status: int, body: bytes) -> str | None:
        """Return what is wrong with an answer; None when it is as expected."""
        wanted = _BAD_REQUEST if self.is_to_be_refused else _OK
        if status != wanted:
            return f"{status or 'no answer'} instead of {wanted}"
        if self.is_to_be_refused:
            return None
        found = _statuses(json.loads(body))
        return None if found == self.expected else f"{_brief(found)}, not {_brief(self.expected)}"


class RequestMix:
    """The requests of one user."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._maker = EventMaker(self._random.getrandbits(64))
        self._stored: deque[UserRequest] = deque(maxlen=_REMEMBERED)

    def next(self) -> UserRequest:
        """Return the next request."""
        if self._stored and self._chance(RETRIED_SHARE):
            return self._random.choice(self._stored).again()
        (kind,) = self._random.choices(_KINDS, _WEIGHTS)
        if kind == "batch":
            return self._batch()
        event = self._maker.track() if kind == "track" else self._maker.identify()
        if self._chance(REFUSED_SHARE):
            return UserRequest(f"/v1/{kind}", compact_json(_invalid(event)), ("rejected",))
        return UserRequest(f"/v1/{kind}", compact_json(event), ("accepted",))

    def remember(self, request: UserRequest) -> None:
        """Remember a request that was stored, to send it again later."""
        if "accepted" in request.expected:
            self._stored.append(request)

    def _batch(self) -> UserRequest:
        count = self._random.choice(_BATCH_EVENTS)
        body, expected = self._maker.batch(count), ["accepted"] * count
        if self._chance(INVALID_BATCH_SHARE):
            number = self._random.randrange(count)
            body["batch"][number] = _invalid(body["batch"][number])
            expected[number] = "rejected"
        return UserRequest("/v1/batch", compact_json(body), tuple(expected))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def _invalid(event: EventFields) -> EventFields:
    return event | {"timestamp": "the day before yesterday"}


def _statuses(answer: dict[str, Any]) -> tuple[str, ...]:
    return tuple(result["status"] for result in answer.get("results", [answer]))


def _brief(statuses: tuple[str, ...]) -> str:
    return ", ".join(f"{statuses.count(name)} {name}" for name in sorted(set(statuses)))
