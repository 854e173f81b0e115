"""
The disk of PostgreSQL's write-ahead log is full, and PostgreSQL ends.

If these tests fail: a full disk loses events that were acknowledged, or the service does not
recover by itself.
"""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from tests.acceptance.conftest import StartSite
from tests.acceptance.own_postgres import OwnPostgres, lent_postgres
from tests.acceptance.proxy import Proxy, proxied
from tests.acceptance.running import until
from tests.acceptance.site import Site
from tests.chaos.report import REPORT, under_load
from tests.chaos.small_disk import fill, make_room
from tests.chaos.test_starvation import RECOVERY_S, SETTINGS

DATABASE: Final = "forebay_test_full_log"
PANIC: Final = re.compile("PANIC: .*No space left on device")


@pytest.fixture
def logging_apart(small_disk: Path) -> Iterator[OwnPostgres]:
    """Lend a server whose log has a disk of its own, and always needs new files there."""
    with lent_postgres(wal_recycle="off", min_wal_size="32MB", max_wal_size="32MB") as own:
        asyncio.run(own.stop())
        _move(own.server.files.data / "pg_wal", small_disk / "pg_wal")
        asyncio.run(own.start())
        yield own


def _move(folder: Path, target: Path) -> None:
    """Move a folder to another disk, the owner of each file kept, and leave a link."""
    owner = folder.stat()
    shutil.copytree(folder, target)
    for path in (target, *target.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    shutil.rmtree(folder)
    folder.symlink_to(target)


async def test_a_full_wal_disk_stops_postgresql_and_loses_no_event(
    small_disk: Path, logging_apart: OwnPostgres, start_site: StartSite, *, is_long: bool
) -> None:
    """It panics, cannot recover without room, and ends; with room it is started again."""
    run, own = REPORT.begin("disk of the log full"), logging_apart
    url = await own.make_database(DATABASE)
    async with proxied(url) as proxy:
        site = await start_site(url, through=proxy.url, **SETTINGS)
        key = await site.make_key()
        async with under_load(site, key, run) as ledger:
            for _ in range(5 if is_long else 1):
                await asyncio.to_thread(fill, small_disk)
                await _need_another_file(own)
                run.kills += 1
                await until(own.has_ended, RECOVERY_S, "PostgreSQL has ended")
                assert PANIC.search(own.server.files.log.read_text())
                await ledger.until_refused()
                make_room(small_disk)
                await _start_again(own, proxy, site)
                await run.recovers(ledger)


async def _need_another_file(own: OwnPostgres) -> None:
    """Do not wait until the file at hand is full; the server may panic before it answers."""
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        async with own.admin() as admin:
            await admin.execute("SELECT pg_switch_wal()")


async def _start_again(own: OwnPostgres, proxy: Proxy, site: Site) -> None:
    """As a supervisor does with a server that has ended."""
    await own.start()
    site.database_url = own.server.url(DATABASE)
    proxy.retarget(site.database_url)
