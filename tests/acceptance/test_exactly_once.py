"""
Each event id is stored once, however often and wherever it is sent, also over a killed worker.

If these tests fail: an analyst counts an event twice, or a sender loses one that was acknowledged.
"""

import asyncio
import os
import signal
from collections import Counter

from tests.acceptance.ledger import load
from tests.acceptance.site import Site, new_ids, track, tracks
from tests.nightly import IS_NIGHTLY

CONNECTIONS = 32
TIMES = 200


async def _send_at_once(site: Site, events: list[dict[str, object]]) -> list[dict[str, object]]:
    """Send one request per event over 32 connections that reach every worker; all verdicts."""
    key = await site.make_key()
    async with site.client_of_each_worker(key), site.client(key) as client:
        room = asyncio.Semaphore(CONNECTIONS)

        async def send(event: dict[str, object]) -> dict[str, object]:
            async with room:
                answer = await client.post("/v1/track", json=event)
                assert answer.status_code == 200, answer.text
                verdict: dict[str, object] = answer.json()
                return verdict

        verdicts = await asyncio.gather(*(send(event) for event in events))
    rows = await site.rows(key)
    assert len({event["event_id"] for event in events}) == len(rows)
    return verdicts


async def test_the_same_event_many_times_at_once_is_accepted_once(shared: Site) -> None:
    (event_id,) = new_ids(1)
    verdicts = await _send_at_once(shared, [track(event_id)] * TIMES)

    outcomes = Counter(verdict["status"] for verdict in verdicts)
    assert outcomes == {"accepted": 1, "duplicate": TIMES - 1}


async def test_of_different_contents_with_one_id_only_one_is_stored(shared: Site) -> None:
    (event_id,) = new_ids(1)
    names = ["a", "b", "c", "d"]
    events = [track(event_id, event=name) for name in names * 25]
    verdicts = await _send_at_once(shared, events)

    (winner,) = [e["event"] for e, v in zip(events, verdicts, strict=True) if _is(v, "accepted")]
    expected = {"accepted": 1, "duplicate": 24, "conflict": 75}
    assert expected == Counter(verdict["status"] for verdict in verdicts)
    same = [v["status"] for e, v in zip(events, verdicts, strict=True) if e["event"] == winner]
    assert Counter(same) == {"accepted": 1, "duplicate": 24}


async def test_batches_that_share_ids_in_any_order_do_not_deadlock(shared: Site) -> None:
    """Workers lock the same rows in opposite orders; no request waits for ever or is refused."""
    key = await shared.make_key()
    ids = new_ids(50)
    orders = [ids, ids[::-1], ids[25:] + ids[:25], ids[::2] + ids[1::2]] * 10
    async with shared.client_of_each_worker(key), shared.client(key) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/batch", json=tracks(order)) for order in orders)
        )

    bodies = [answer.json() for answer in answers]
    assert [200] * len(orders) == [answer.status_code for answer in answers]
    assert sum(body["accepted"] for body in bodies) == 50
    assert sum(body["duplicates"] for body in bodies) == 50 * (len(orders) - 1)
    assert set(ids) == set(await shared.event_ids(key))


async def test_equal_ids_in_a_batch_are_judged_in_their_order(shared: Site) -> None:
    key = await shared.make_key()
    first, second = new_ids(2)
    events = [track(first), track(first, event="x"), track(second), track(first), track(second)]
    async with shared.client(key) as client:
        answer = await client.post("/v1/batch", json={"batch": events})
        again = await client.post("/v1/batch", json={"batch": events})

    verdicts = [result["status"] for result in answer.json()["results"]]
    assert verdicts == ["accepted", "conflict", "accepted", "duplicate", "duplicate"]
    verdicts = [result["status"] for result in again.json()["results"]]
    assert verdicts == ["duplicate", "conflict", "duplicate", "duplicate", "duplicate"]


async def test_spelling_and_time_of_sending_do_not_change_the_content(shared: Site) -> None:
    key = await shared.make_key()
    time = "2026-01-31T12:00:00Z"
    spellings = [
        {"event": "e", "user_id": "u", "event_id": "s1", "timestamp": time},
        {"event": "e", "userId": "u", "messageId": "s1", "timestamp": time, "type": "track"},
        {"event": "e", "userId": "u", "messageId": "s1", "timestamp": time, "sentAt": time},
    ]
    async with shared.client(key) as client:
        answers = [await client.post("/v1/track", json=event) for event in spellings]

    statuses = [answer.json()["status"] for answer in answers]
    assert statuses == ["accepted", "duplicate", "duplicate"]


async def test_a_killed_worker_loses_nothing_that_was_acked_and_is_replaced(site: Site) -> None:
    key = await site.make_key()
    async with load(site, key, connections=16) as ledger:
        for _ in range(2 if IS_NIGHTLY else 1):
            await ledger.until_acked(300)
            victim, *survivors = site.service.worker_pids
            os.kill(victim, signal.SIGKILL)
            assert set(survivors) < set(await site.service.until_replaced([victim]))
        await ledger.until_acked(300)

    assert set(ledger.statuses) == {200}
    await ledger.check(site, key)
    async with site.client_of_each_worker(key) as clients:
        assert set(site.service.worker_pids) == set(clients)
        for client in clients.values():
            answer = await client.post("/v1/batch", json=tracks(new_ids(1)))
            assert answer.json()["accepted"] == 1


def _is(verdict: dict[str, object], outcome: str) -> bool:
    return verdict["status"] == outcome
