"""
The connection to PostgreSQL breaks at each message of a flush.

If these tests fail: an event is lost or stored twice when a connection breaks at the wrong moment.
"""

import time
from typing import Final

import httpx
import pytest

from provision.keys import NewKey
from service.store.ledger import SINGLE_STATEMENT_ROWS_MAX
from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import Event, Ledger, check_refusals, event_of, new_ledger
from tests.acceptance.site import Site, new_ids
from tests.chaos.frames import Failure, FrameProxy, Plan, Way, framed
from tests.chaos.report import REPORT, Run

# Rows of a flush that is one statement, and of one that goes down by COPY.
AT_ONCE_ROWS: Final = 3
COPY_ROWS: Final = SINGLE_STATEMENT_ROWS_MAX + 5
SETTINGS: Final = {
    "workers": "1",
    "flush_timeout_s": "1",
    "connect_timeout_s": "1",
    "payload_events_max": str(COPY_ROWS),
}
COPY_DATA: Final = "d"
PARSE: Final = "P"
NOWHERE: Final = (Way.UP, 1_000)
TRIES_MAX: Final = 10


Place = tuple[Way, int]


class Bench:
    """One worker behind a line that fails; the ledger of one client."""

    def __init__(self, site: Site, proxy: FrameProxy, key: NewKey, run: Run) -> None:
        self.site, self._proxy, self.key, self.run = site, proxy, key, run
        self.ledger: Ledger = new_ledger(site)

    async def flush(
        self, client: httpx.AsyncClient, rows: int, failure: Failure, place: Place
    ) -> Plan:
        """
        Send a batch whose flush fails at *place*.

        Over a connection whose statements are prepared: the messages are the same each time. When a
        probe of the worker uses that connection, the flush gets another one, and is tried again.
        """
        for _ in range(TRIES_MAX):
            plan = await self._flush(client, rows, failure, place)
            if PARSE not in plan.seen[Way.UP]:
                return plan
        raise AssertionError(f"no prepared connection in {TRIES_MAX} tries")

    async def _flush(
        self, client: httpx.AsyncClient, rows: int, failure: Failure, place: Place
    ) -> Plan:
        await self.ledger.send_events(client, _events(rows))
        events = _events(rows)
        begin = b"BEGIN\0" if rows > AT_ONCE_ROWS else str(events[0]["event_id"]).encode()
        plan = Plan(begin, *place, failure)
        self._proxy.fail(plan)
        await self.ledger.send_events(client, events)
        self._proxy.plan = None
        self.run.cuts += plan.has_failed
        return plan

    async def end(self) -> None:
        check_refusals(self.ledger.answers)
        assert not self.ledger.faults
        await self.run.judge(self.ledger, self.site, self.key)


def _events(rows: int) -> list[Event]:
    *ids, last = new_ids(rows)
    return [event_of(event_id) for event_id in (*ids, f"{last}-big")]


def _places(whole: dict[Way, list[str]], *, is_long: bool) -> list[Place]:
    """Every message of a flush; the rows of an answer look alike, and short: first and last."""
    return [
        (way, at)
        for way, seen in whole.items()
        for at in range(len(seen))
        if is_long or seen[max(at - 1, 0) : at + 2] != ["D"] * 3
    ]


@pytest.mark.parametrize("rows", [AT_ONCE_ROWS, COPY_ROWS])
async def test_a_connection_cut_at_any_message_of_a_flush_loses_no_event(
    database_url: str, start_site: StartSite, rows: int, *, is_long: bool
) -> None:
    """Every boundary is met, in both directions: also before COMMIT, and before its answer."""
    async with framed(database_url) as proxy:
        site = await start_site(through=proxy.url, **SETTINGS)
        run = REPORT.begin(f"line broken at each message, {rows} rows")
        bench = Bench(site, proxy, await site.make_key(), run)
        async with site.client(bench.key) as client:
            whole = (await bench.flush(client, rows, Failure.RESET, NOWHERE)).seen
            run.say(f"one flush is {' '.join(whole[Way.UP])} / {' '.join(whole[Way.DOWN])}")
            for way, at in _places(whole, is_long=is_long):
                failures = {Failure.RESET}
                if is_long or whole[way][at] == COPY_DATA:
                    failures |= {Failure.CLOSE, Failure.INSIDE}
                for failure in failures:
                    plan = await bench.flush(client, rows, failure, (way, at))
                    assert (True, whole[way][: at + 1]) == (plan.has_failed, plan.seen[way])
        await bench.end()
        assert {200} == set(bench.ledger.statuses)
        assert {"accepted"} == set(bench.ledger.verdicts.values())
        if rows == COPY_ROWS:
            assert whole[Way.UP].count("Q") == 3  # BEGIN, COPY, COMMIT
            assert COPY_DATA in whole[Way.UP]


@pytest.mark.parametrize(
    "failure", [Failure.SILENCE, pytest.param(Failure.SLOW, marks=pytest.mark.nightly)]
)
async def test_a_silent_or_slow_connection_delays_no_other_flush_and_loses_no_event(
    database_url: str, start_site: StartSite, failure: Failure, *, is_long: bool
) -> None:
    """Nobody is told that anything is wrong: a time limit has to notice."""
    async with framed(database_url) as proxy:
        site = await start_site(through=proxy.url, **SETTINGS)
        run = REPORT.begin(f"line {failure.value}")
        bench = Bench(site, proxy, await site.make_key(), run)
        async with site.client(bench.key) as client:
            whole = (await bench.flush(client, COPY_ROWS, failure, NOWHERE)).seen
            data, last = whole[Way.UP].index(COPY_DATA), len(whole[Way.DOWN]) - 1
            places = [(Way.UP, data), (Way.UP, len(whole[Way.UP]) - 1), (Way.DOWN, last - 1)]
            for place in _places(whole, is_long=False) if is_long else places:
                assert (await bench.flush(client, COPY_ROWS, failure, place)).has_failed
                began = time.monotonic()
                await bench.ledger.send_unanswered(client)
                run.recovered(time.monotonic() - began)
        await bench.end()
