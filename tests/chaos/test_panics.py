"""
The native core panics under load: the affected requests are answered at once, all others are
served.

If these tests fail: one event that hits a bug stops a worker, or lets senders wait for their
timeout.
"""

import asyncio
import time
import tomllib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import msgspec
import pytest

from service import _native
from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import TAKES_MANY, Event, event_of, load, mixed, new_ledger
from tests.acceptance.running import ROOT, until
from tests.acceptance.site import new_ids
from tests.chaos.panicking import FEATURE, IN_FLUSH, IN_SCAN, IN_WRITE, build_panicking
from tests.chaos.report import REPORT

QUEUE_ROWS: Final = 20
# The requests are answered because of the panic, not because of a timeout.
PATIENT: Final = {
    "flush_timeout_s": "40",
    "lock_timeout_ms": "20000",
    "statement_timeout_ms": "20000",
}
# Promised is one second; a busy machine is given five times as long, and what it took is noted.
ANSWER_S: Final = 5.0
ACKED_BETWEEN: Final = 20


class Panic(NamedTuple):
    """Where the core panics, what comes of it, and how the log calls that."""

    text: str
    answer: tuple[int, str]
    event: str


SCAN: Final = Panic(IN_SCAN, (500, "internal_error"), "request_failed")
# Before its transaction, and in the middle of it: what it had written is rolled back.
FLUSH: Final = Panic(IN_FLUSH, (503, "outcome_unknown"), "flush_failed")
WRITE: Final = Panic(IN_WRITE, (503, "outcome_unknown"), "flush_failed")


@pytest.fixture
async def start_panicking(start_site: StartSite, tmp_path: Path) -> StartSite:
    """Start a service of one worker whose core panics when it is asked to."""
    root = await build_panicking(tmp_path / "panicking")
    return partial(start_site, root=root, workers="1")


@pytest.mark.parametrize("panic", [SCAN, pytest.param(FLUSH, marks=pytest.mark.nightly), WRITE])
async def test_a_panic_is_answered_at_once_and_the_worker_continues(
    start_panicking: StartSite, panic: Panic, *, is_long: bool
) -> None:
    """The requests of its flush are not stored and are told so; all others are served."""
    where = panic.text.partition(",")[0].removeprefix("panic ")
    site, run = await start_panicking(**TAKES_MANY), REPORT.begin(f"the core panics {where}")
    key, ledger, workers = await site.make_key(), new_ledger(site), site.service.worker_pids
    panics = 200 if is_long else 5
    batches = mixed(ledger, seed=1)
    loading = load(site, key, connections=8, ledger=ledger, batches=batches)
    async with loading, site.client(key) as client:
        for _ in range(panics):
            events = asking_for(panic.text)
            ledger.write_sent(events)
            answer = await client.post("/v1/batch", json={"batch": events})
            ledger.write_answer(events, answer)
            run.cuts += 1
            assert panic.answer == (answer.status_code, answer.json()["code"])
            await ledger.until_acked(ACKED_BETWEEN)
    for answer in ledger.answers:
        run.recovered(answer.elapsed.total_seconds())
        assert panic.answer == (answer.status_code, answer.json()["code"])
    assert run.recovery_s < ANSWER_S
    assert not ledger.faults
    assert workers == site.service.worker_pids
    assert panics == len(site.service.log_lines(panic.event))
    await run.judge(ledger, site, key)


async def test_a_panic_in_a_flush_is_answered_to_all_of_its_requests(
    start_panicking: StartSite,
) -> None:
    """They gather behind a flush that waits for a row; theirs begins when it has the row."""
    site = await start_panicking(flushes_max="1", queue_rows_max=str(QUEUE_ROWS), **PATIENT)
    key, (held, *ids) = await site.make_key(), new_ids(1 + 4 * QUEUE_ROWS)
    async with site.client(key, limits=httpx.Limits()) as client:
        async with site.held(key, held):
            first = _send(client, [event_of(held)])
            await until(site.lock_waits, ANSWER_S, "the first flush waits")
            waiting = [_send(client, asking_for(FLUSH.text))]

            async def is_full() -> bool:
                waiting.append(_send(client, [event_of(ids.pop())]))
                await asyncio.wait(waiting, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
                return any(request.done() for request in waiting)

            await until(is_full, ANSWER_S, "the queue is full")
            released = time.monotonic()
        answers = await asyncio.gather(*waiting)
        assert time.monotonic() - released < ANSWER_S
    codes = Counter(answer.json().get("code", "stored") for answer in answers)
    assert codes["outcome_unknown"] >= QUEUE_ROWS // 2
    # One may have been on its way when the queue was full, and have come after all was over.
    assert codes.keys() <= {"outcome_unknown", "overloaded", "stored"}
    assert 200 == (await first).status_code
    assert 1 + codes["stored"] == len(await site.event_ids(key))


def test_no_core_that_serves_can_be_asked_to_panic() -> None:
    """Neither the one that is installed, nor one in a wheel: none is built with the feature."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    features = tomllib.loads((ROOT / "native/Cargo.toml").read_text())["features"]
    asked = msgspec.json.encode({"batch": asking_for(IN_SCAN)})

    assert ["python", "pyo3/extension-module"] == project["tool"]["maturin"]["features"]
    assert {"default": ["python"], "python": ["dep:pyo3"], FEATURE: []} == features
    assert b"for a test" not in Path(_native.__file__).read_bytes()
    assert isinstance(_native.scan_batch(asked, 50), _native.Scan)


def asking_for(text: str) -> list[Event]:
    """Return a batch of new events: one asks for a panic, one is refused and goes elsewhere."""
    first, last = new_ids(2)
    return [{**event_of(first), "properties": {"asked": text}}, event_of(f"{last}-bad")]


def _send(client: httpx.AsyncClient, events: list[Event]) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(client.post("/v1/batch", json={"batch": events}))
