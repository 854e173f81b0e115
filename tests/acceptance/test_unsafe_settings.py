"""
An administrator makes the server unsafe while the service runs: no event is acknowledged.

If these tests fail: acknowledged events are missing after the next crash of PostgreSQL.
"""

import asyncio
import signal
from typing import Any

import pytest

from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import Ledger, check_refusals, load
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.running import until
from tests.acceptance.site import Site

# Documented: one second; a busy machine gets five times as long.
WATCHED_S = 5.0
RECOVERED_S = 15.0
IN_A_ROW = 30
SETTINGS = {"flush_timeout_s": "1", "connect_timeout_s": "1"}


async def see_refused(ledger: Ledger) -> None:
    """Wait for enough consecutive refusals that every worker has noticed the change."""

    async def is_refused() -> bool:
        acked, refused = len(ledger.verdicts), len(ledger.answers)
        while len(ledger.verdicts) == acked:
            if len(ledger.answers) >= refused + IN_A_ROW:
                return True
            await asyncio.sleep(0.01)
        return False

    await until(is_refused, WATCHED_S + RECOVERED_S, "only refusals")


@pytest.mark.parametrize(
    ("setting", "unsafe", "cause"),
    [
        ("fsync", "off", "unsafe_setting"),
        pytest.param("full_page_writes", "off", "unsafe_setting", marks=pytest.mark.nightly),
        ("default_transaction_read_only", "on", "read_only"),
    ],
)
async def test_no_event_is_acked_while_a_setting_is_unsafe(
    own_postgres: OwnPostgres, start_site: StartSite, setting: str, unsafe: str, cause: str
) -> None:
    url = await own_postgres.make_database("forebay_test_unsafe")
    site = await start_site(url, **SETTINGS)
    key = await site.make_key()
    subject = setting if cause == "unsafe_setting" else ""
    async with load(site, key, connections=4) as ledger:
        await ledger.until_acked(IN_A_ROW)
        await own_postgres.configure(f"ALTER SYSTEM SET {setting} = {unsafe}")
        async with asyncio.timeout(WATCHED_S):
            await see_refused(ledger)
        acked = len(ledger.verdicts)
        await until(_tells(site, cause, subject), WATCHED_S, "each worker tells")
        await see_refused(ledger)
        assert acked == len(ledger.verdicts)
        message = ledger.answers[-1].json()["message"]
        assert (subject or "read-only") in message

        await own_postgres.configure(f"ALTER SYSTEM RESET {setting}")
        await ledger.until_acked(IN_A_ROW)
        await until(site.service.is_ready, WATCHED_S, "it is ready again")
    check_refusals(ledger.answers)
    assert {"store_unavailable"} == {answer.json()["code"] for answer in ledger.answers}
    assert not ledger.faults
    # One log line per worker, not per request.
    told = [(line["cause"], line["subject"]) for line in _told(site)]
    assert [(cause, subject)] * 2 == told
    await ledger.check(site, key)


def _tells(site: Site, cause: str, subject: str) -> Any:
    async def tells() -> bool:
        async with site.client() as client:
            health = (await client.get("/health")).json()["database"]
            metrics = (await client.get(site.service.metrics_url)).text
        sample = f'forebay_store_unavailable_workers{{cause="{cause}",subject="{subject}"}} 2.0'
        return health.get("cause") == cause and sample in metrics and len(_told(site)) == 2

    return tells


def _told(site: Site) -> list[dict[str, Any]]:
    return site.service.log_lines("store_unavailable")


async def test_synchronous_commit_off_by_reload_or_by_role_loses_no_acknowledged_event(
    own_postgres: OwnPostgres, start_site: StartSite
) -> None:
    """Each session sets synchronous_commit, which overrides the setting of the server."""
    # Asynchronous commits would reach the disk late.
    await own_postgres.configure("ALTER SYSTEM SET wal_writer_delay = '10s'")
    url = await own_postgres.make_database("forebay_test_asynchronous")
    site = await start_site(url, **SETTINGS)
    key = await site.make_key()
    async with load(site, key, connections=4) as ledger:
        await ledger.until_acked(IN_A_ROW)
        await own_postgres.configure(
            "ALTER SYSTEM SET synchronous_commit = off",
            "ALTER ROLE CURRENT_USER SET synchronous_commit = off",
            "ALTER DATABASE forebay_test_asynchronous SET synchronous_commit = local",
        )
        async with own_postgres.admin() as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'forebay' AND pid % 2 = 0"
            )
        await ledger.until_acked(IN_A_ROW)
        await ledger.until_acked(IN_A_ROW)
        process = own_postgres.server._process
        assert process is not None
        process.send_signal(signal.SIGQUIT)  # no checkpoint, so WAL that was not flushed is lost
        await asyncio.to_thread(process.wait)
        await own_postgres.start()
    site.database_url = own_postgres.server.url("forebay_test_asynchronous")
    await ledger.check_acked(site, key)
