"""
Administrators at work under load: cancelled commits, detached partitions, killed replacements.

If these tests fail: maintenance of the database or of the workers loses events, or stops the
service for good.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import Ledger
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.site import Site
from tests.chaos.report import REPORT, Run, under_load
from tests.chaos.test_starvation import SETTINGS

DATABASE: Final = "forebay_test_administration"
REPLACEMENTS_KILLED: Final = 5
pytestmark = pytest.mark.nightly

ACCEPTED_AGAIN_S: Final = 75.0  # fifteen seconds are promised


def _acknowledged(ledger: Ledger) -> int:
    """Count what was said to be stored. A refused event over its budget needs no database."""
    verdicts = Counter(ledger.verdicts.values())
    return verdicts["accepted"] + verdicts["duplicate"]


async def test_a_cancelled_wait_for_a_standby_acknowledges_nothing(
    own_postgres: OwnPostgres, start_site: StartSite, *, is_long: bool
) -> None:
    run, own = REPORT.begin("waits for a standby cancelled"), own_postgres
    url = await own.make_database(DATABASE)
    site = await start_site(url, **SETTINGS)
    key = await site.make_key()
    async with under_load(site, key, run) as ledger:
        await own.configure("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
        await asyncio.sleep(1)  # flushes that had begun before
        before = _acknowledged(ledger)
        run.cuts += await _cancel_waits(own, 20.0 if is_long else 4.0)
        assert run.cuts
        assert before == _acknowledged(ledger)
        await own.configure("ALTER SYSTEM RESET synchronous_standby_names")
        await run.recovers(ledger)


async def _cancel_waits(own: OwnPostgres, seconds: float) -> int:
    cancel = (
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    )
    cancelled, end = 0, time.monotonic() + seconds
    async with own.admin() as admin:
        while time.monotonic() < end:
            cancelled += await admin.fetchval(cancel)
            await asyncio.sleep(0.02)
    return cancelled


async def test_a_detached_day_partition_and_killed_workers_refuse_no_request(
    start_site: StartSite, *, is_long: bool
) -> None:
    run = REPORT.begin("a detached day in the way, workers killed")
    site = await start_site(**SETTINGS)
    key = await site.make_key()
    async with under_load(site, key, run, is_cut=True) as ledger:
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        async with site.database() as admin:
            await admin.execute(f"ALTER TABLE events DETACH PARTITION events_{tomorrow:%Y%m%d}")
        for _ in range(10 if is_long else 2):
            await _kill_a_worker(site, run)
            await run.recovers(ledger)
            await site.service.until_replaced(timeout_s=ACCEPTED_AGAIN_S)


async def test_a_service_whose_new_workers_are_killed_recovers(
    start_site: StartSite, *, is_long: bool
) -> None:
    """Each worker that replaces a killed one is killed within a second of its start."""
    run = REPORT.begin("each replacement killed within a second")
    site = await start_site(**SETTINGS)
    key = await site.make_key()
    async with under_load(site, key, run, is_cut=True) as ledger:
        for _ in range(REPLACEMENTS_KILLED * (4 if is_long else 1)):
            await _kill_a_worker(site, run)
            await site.service.until_replaced(timeout_s=ACCEPTED_AGAIN_S)
        await run.recovers(ledger)
    assert site.service.is_running()
    assert run.recovery_s < ACCEPTED_AGAIN_S


async def _kill_a_worker(site: Site, run: Run) -> None:
    """Kill the youngest worker, which is the replacement of the one killed before."""
    os.kill(site.service.worker_pids[-1], signal.SIGKILL)
    run.kills += 1
