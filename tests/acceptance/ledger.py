"""The events that clients sent and their answers, in a file that is compared with the database."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from provision.keys import NewKey
from service.store.ledger import SINGLE_STATEMENT_ROWS_MAX
from tests.acceptance.checker import content_hash, findings, read_account, read_stored
from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track

# More events than a single-statement flush may have, and the setting that allows such a request.
MANY: Final = SINGLE_STATEMENT_ROWS_MAX + 5
TAKES_MANY: Final = {"payload_events_max": str(MANY)}
# Limit for the recovery of a load: five times the documented five seconds.
GOES_ON_S: Final = 25.0
# Limit for an answer: five times the flush timeout of most of these tests.
_REFUSED_IN_S: Final = 5.0
_REFUSALS: Final = frozenset({"store_unavailable", "outcome_unknown", "overloaded"})
_EVENTS_A_REQUEST: Final = 5
_OK: Final = 200
_STORED: Final = frozenset({"accepted", "duplicate"})
_UNANSWERED_TRIES_MAX: Final = 50
_UNANSWERED_AT_ONCE: Final = 50
_REMEMBERED_MAX: Final = 200
_REFUSED_PAUSE_S: Final = 0.1

Event = Mapping[str, Any]


class Ledger:
    """The file of a client: written and synced before each request, and after its answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent: list[str] = []
        self.verdicts: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self.answers: list[httpx.Response] = []
        self.faults: Counter[str] = Counter()
        self.resent = 0
        self.latencies_s: list[float] = []

    @property
    def unknown(self) -> list[str]:
        """Ids of events without an answer."""
        return [event_id for event_id in self.sent if event_id not in self.verdicts]

    @property
    def _unsettled(self) -> str:
        last = self.answers[-1].text if self.answers else "none"
        return f"{len(self.unknown)} events have no verdict: {self.faults}, last refusal {last}"

    async def send(self, client: httpx.AsyncClient, event_ids: list[str]) -> None:
        """Send the events with these ids as one batch, and record the answer."""
        await self.send_events(client, [event_of(event_id) for event_id in event_ids])

    async def send_events(self, client: httpx.AsyncClient, events: list[Event]) -> None:
        """Send a batch, and record the answer."""
        self.write_sent(events)
        try:
            answer = await client.post("/v1/batch", json={"batch": events})
        except httpx.TransportError as error:
            self.faults[type(error).__name__] += 1
            return
        self.write_answer(events, answer)

    def write_sent(self, events: list[Event]) -> None:
        """Record events before they are sent, and sync the file."""
        ids = [event["event_id"] for event in events]
        self.sent += [event_id for event_id in ids if event_id not in self.verdicts]
        self._append("sent", [[event["event_id"], content_hash(event)] for event in events])

    def write_answer(self, events: list[Event], answer: httpx.Response) -> None:
        """Record an answer."""
        self.statuses[answer.status_code] += 1
        self.latencies_s.append(answer.elapsed.total_seconds())
        if answer.status_code != _OK:
            self.answers.append(answer)
            return
        told = []
        for event, result in zip(events, answer.json()["results"], strict=True):
            assert event["event_id"] == result["event_id"]
            told.append([result["event_id"], content_hash(event), result["status"]])
            if result["status"] != "conflict":
                self.verdicts[result["event_id"]] = result["status"]
        self._append("told", told)

    async def send_unanswered(self, client: httpx.AsyncClient) -> None:
        """Send events without an answer again until they have one, as clients do."""
        left = list(dict.fromkeys(self.unknown))
        for start in range(0, len(left), _UNANSWERED_AT_ONCE):
            some, tries = left[start : start + _UNANSWERED_AT_ONCE], 0
            while not self.verdicts.keys() >= set(some):
                assert tries < _UNANSWERED_TRIES_MAX, self._unsettled
                await asyncio.sleep(0.1 if tries else 0)
                self.resent += len(some)
                await self.send(client, some)
                tries += 1

    async def until_acked(self, more: int = 50, timeout_s: float = GOES_ON_S) -> None:
        """Wait until *more* events are acknowledged."""
        enough = len(self.verdicts) + more

        async def are_acked() -> bool:
            return len(self.verdicts) >= enough

        await until(are_acked, timeout_s, f"{more} more events are acknowledged: {self.statuses}")

    async def until_refused(self, more: int = 5, timeout_s: float = GOES_ON_S) -> None:
        """Wait until *more* requests are refused."""
        enough = len(self.answers) + more

        async def are_refused() -> bool:
            return len(self.answers) >= enough

        await until(are_refused, timeout_s, f"{more} more requests are refused: {self.statuses}")

    async def findings(self, site: Site, key: NewKey) -> list[str]:
        """Compare the file with the database; return each difference."""
        async with site.database() as connection:
            stored = await read_stored(connection, key.tenant_id)
        return findings(read_account(self.path), stored)

    async def check_acked(self, site: Site, key: NewKey) -> None:
        """Check that each acknowledged event is stored once and each stored event was sent."""
        assert [] == await self.findings(site, key)

    async def check(self, site: Site, key: NewKey) -> None:
        """Compare with the database before and after unanswered events are sent again."""
        await self.check_acked(site, key)
        async with site.client(key) as client:
            await self.send_unanswered(client)
        await self.check_acked(site, key)
        stored = {event_id for event_id, verdict in self.verdicts.items() if verdict in _STORED}
        assert stored == set(await site.event_ids(key))

    def _append(self, kind: str, entries: list[list[str]]) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, json.dumps({kind: entries}).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def event_of(event_id: str) -> Event:
    """Return the event with this id; its content is derived from the id."""
    if event_id.endswith("bad"):
        return track(event_id, properties={"of": event_id}, timestamp="no time at all")
    pad = event_id * (800 if event_id.endswith("big") else 3)
    return track(event_id, properties={"of": event_id, "pad": pad})


def check_refusals(answers: list[httpx.Response]) -> None:
    """Check that each answer is a 503 in time with a reason and Retry-After."""
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.json()["code"] in _REFUSALS
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.elapsed.total_seconds() < _REFUSED_IN_S


def new_ledger(site: Site) -> Ledger:
    """Return an empty ledger beside the service's log."""
    return Ledger(site.service.folder / f"ledger-{secrets.token_hex(6)}.jsonl")


def plain() -> Iterator[list[Event]]:
    """Yield small batches of new events, endlessly."""
    while True:
        yield [event_of(event_id) for event_id in new_ids(_EVENTS_A_REQUEST)]


def mixed(ledger: Ledger, seed: int) -> Iterator[list[Event]]:
    """
    Yield batches of 1 to `MANY` events endlessly, so that flushes use both ways of writing.

    Some contain an event that must be rejected, or a stored event, unchanged or changed.
    """
    chance = random.Random(seed)
    for number in itertools.count():
        events = [event_of(event_id) for event_id in new_ids(chance.choice((1, 2, 5, 20, MANY)))]
        if number % 5 == 0:
            events[-1] = event_of(f"{events[-1]['event_id']}-bad")
        recent = itertools.islice(reversed(ledger.verdicts.items()), _REMEMBERED_MAX)
        stored = [event_id for event_id, verdict in recent if verdict in _STORED]
        if number % 3 == 0 and stored:
            again = event_of(chance.choice(stored))
            events[0] = again if number % 2 else {**again, "event": "Another"}
        yield events


@contextlib.asynccontextmanager
async def load(
    site: Site,
    key: NewKey,
    *,
    connections: int = 8,
    ledger: Ledger | None = None,
    batches: Iterable[list[Event]] | None = None,
) -> AsyncIterator[Ledger]:
    """Let *connections* clients send *batches* while the block runs."""
    kept = new_ledger(site) if ledger is None else ledger
    coming = iter(plain() if batches is None else batches)
    has_ended = asyncio.Event()

    async def send(client: httpx.AsyncClient) -> None:
        while not has_ended.is_set():
            acked = kept.statuses[_OK]
            await kept.send_events(client, next(coming))
            # After a refusal a client pauses.
            await asyncio.sleep(0 if kept.statuses[_OK] > acked else _REFUSED_PAUSE_S)

    async with site.client(key) as client:
        senders = [asyncio.create_task(send(client)) for _ in range(connections)]
        try:
            yield kept
        finally:
            has_ended.set()
            await asyncio.gather(*senders)
