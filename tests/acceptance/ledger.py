"""What clients sent and what they were told, to be held against what is stored."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import httpx

from provision.keys import NewKey
from tests.acceptance.site import Site, new_ids, tracks

_EVENTS_A_REQUEST: Final = 5
_OK: Final = 200
_STORED: Final = frozenset({"accepted", "duplicate"})
_SETTLE_TRIES_MAX: Final = 50


class Ledger:
    """Written before each request is sent, and again when its answer has come."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.verdicts: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self.answers: list[httpx.Response] = []
        self.faults: Counter[str] = Counter()

    @property
    def unknown(self) -> list[str]:
        """Ids of which no answer said what became of them."""
        return [event_id for event_id in self.sent if event_id not in self.verdicts]

    async def send(self, client: httpx.AsyncClient, event_ids: list[str]) -> None:
        """Send a batch, and write down what comes of it."""
        self.sent += [event_id for event_id in event_ids if event_id not in self.verdicts]
        try:
            answer = await client.post("/v1/batch", json=tracks(event_ids))
        except httpx.TransportError as error:
            self.faults[type(error).__name__] += 1
            return
        self.statuses[answer.status_code] += 1
        if answer.status_code != _OK:
            self.answers.append(answer)
            return
        for result in answer.json()["results"]:
            self.verdicts[result["event_id"]] = result["status"]

    async def settle(self, client: httpx.AsyncClient) -> None:
        """Send what is unknown again until it is known, as clients do."""
        for _ in range(_SETTLE_TRIES_MAX):
            left = list(dict.fromkeys(self.unknown))
            if not left:
                return
            await self.send(client, left[:50])
            await asyncio.sleep(0 if left[0] in self.verdicts else 0.1)
        raise AssertionError(f"{len(self.unknown)} events have no verdict yet")

    def check_acked(self, stored: list[str]) -> None:
        """Nothing acked is missing, nothing is there twice, and nothing that nobody sent."""
        acked = {event_id for event_id, verdict in self.verdicts.items() if verdict in _STORED}
        assert set(self.verdicts) == acked
        assert acked - set(stored) == set()
        assert set(stored) - set(self.sent) == set()
        assert len(stored) == len(set(stored))

    async def check(self, site: Site, key: NewKey) -> None:
        """Hold all of it against the database, before and after what is unknown was sent again."""
        self.check_acked(await site.event_ids(key))
        async with site.client(key) as client:
            await self.settle(client)
        stored = await site.event_ids(key)
        self.check_acked(stored)
        assert set(self.sent) == set(stored)


@contextlib.asynccontextmanager
async def load(site: Site, key: NewKey, *, connections: int = 8) -> AsyncIterator[Ledger]:
    """Keep *connections* clients sending new events for as long as the block lasts."""
    ledger = Ledger()
    has_ended = asyncio.Event()

    async def send(client: httpx.AsyncClient) -> None:
        while not has_ended.is_set():
            faults = ledger.faults.total()
            await ledger.send(client, new_ids(_EVENTS_A_REQUEST))
            # A client that cannot connect tries again, but not as fast as it can.
            await asyncio.sleep(0.02 if ledger.faults.total() > faults else 0)

    async with site.client(key) as client:
        senders = [asyncio.create_task(send(client)) for _ in range(connections)]
        try:
            yield ledger
        finally:
            has_ended.set()
            await asyncio.gather(*senders)
