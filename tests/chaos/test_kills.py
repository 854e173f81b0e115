"""
Processes of the service and of PostgreSQL are killed under load, with fsync on.

If these tests fail: acknowledged events are missing after a crash, or indexes are corrupt.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from provision.postgres import EmbeddedPostgres
from tests.acceptance.conftest import StartSite
from tests.acceptance.ledger import TAKES_MANY, Ledger, check_refusals, load, mixed, new_ledger
from tests.acceptance.own_postgres import OwnPostgres
from tests.acceptance.proxy import Proxy, proxied
from tests.acceptance.running import until
from tests.acceptance.site import Site
from tests.chaos.report import REPORT, Run

DATABASE: Final = "forebay_test_kills"
SETTINGS: Final = {"flush_timeout_s": "1", "connect_timeout_s": "1", **TAKES_MANY}
KILLS: Final = int(os.environ.get("CHAOS_KILLS", "200"))
SECONDS_MAX: Final = float(os.environ.get("CHAOS_SECONDS", "3000"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "1"))
# Documented: five seconds; a busy machine gets five times as long. The actual time is in the table.
RECOVERY_S: Final = 25.0
ACKED_BETWEEN: Final = 150
ROUND: Final = 10
CONNECTIONS: Final = 4


class Victims:
    """A service, a proxy and a PostgreSQL server, and the ways to kill their processes."""

    def __init__(self, site: Site, own: OwnPostgres, proxy: Proxy) -> None:
        self.site, self._own, self._proxy = site, own, proxy

    async def worker(self) -> None:
        os.kill(random.choice(self.site.service.worker_pids), signal.SIGKILL)

    async def parent(self) -> None:
        """Kill the parent, then the rest of its session, as a supervisor does before a restart."""
        os.kill(self.site.service.pid, signal.SIGKILL)
        await asyncio.sleep(
            random.random() / 5
        )  # orphaned workers may still accept and answer requests
        self.site.service.kill()
        await self.site.service.start()

    async def backend(self) -> None:
        """Kill a backend: PostgreSQL then ends every session, and recovers from its WAL."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'forebay'"
            " ORDER BY state = 'active' DESC, random() LIMIT 1"
        )
        async with self._own.admin(DATABASE) as admin:
            pid = await admin.fetchval(query)
            if pid is None:
                return
            os.kill(pid, signal.SIGKILL)

            async def is_ended() -> bool:
                return admin.is_closed()

            # Until PostgreSQL has detected the kill, other sessions may commit.
            await until(is_ended, RECOVERY_S, "PostgreSQL has ended every session")

    async def postmaster(self) -> None:
        await self._end_server(signal.SIGKILL)

    async def server_at_once(self) -> None:
        """Shut PostgreSQL down immediately: no checkpoint, recovery at the next start."""
        await self._end_server(signal.SIGQUIT)

    async def _end_server(self, number: signal.Signals) -> None:
        pid_file = self._own.server.files.data / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), number)
        await self._own.stop()
        await self._own.start()
        self.site.database_url = self._own.server.url(DATABASE)
        self._proxy.retarget(self.site.database_url)

    @property
    def ways(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.worker, self.backend, self.parent, self.postmaster, self.server_at_once]


@contextlib.asynccontextmanager
async def victims(own: OwnPostgres, start_site: StartSite) -> AsyncIterator[Victims]:
    url = await own.make_database(DATABASE)
    async with own.admin() as admin:
        settings = [await admin.fetchval(f"SHOW {name}") for name in ("fsync", "full_page_writes")]
        assert ["on", "on"] == settings
    async with proxied(url) as proxy:
        site = await start_site(url, through=proxy.url, **SETTINGS)
        yield Victims(site, own, proxy)


async def test_kills_under_load_lose_nothing_and_leave_sound_indexes(
    own_postgres: OwnPostgres, start_site: StartSite, *, is_long: bool
) -> None:
    """One kill of each kind; in the long form the configured number of random kills."""
    run = REPORT.begin("kill -9 and immediate shutdown")
    async with victims(own_postgres, start_site) as killing:
        site, chance = killing.site, random.Random(SEED)
        key, ledger = await site.make_key(), new_ledger(killing.site)
        kinds = itertools.chain(killing.ways, (chance.choice(killing.ways) for _ in range(KILLS)))
        batches = mixed(ledger, SEED)
        for kills in _rounds(KILLS if is_long else len(killing.ways)):
            async with load(site, key, connections=CONNECTIONS, ledger=ledger, batches=batches):
                await ledger.until_acked(ACKED_BETWEEN)
                for _ in range(kills):
                    await _kill(run, next(kinds), ledger, site)
            assert [] == await ledger.findings(site, key)
            run.say(f"{run.kills} kills, {len(ledger.verdicts):,} events known, none lost")
            if time.monotonic() - run.began > SECONDS_MAX:
                run.say("stopped: the time is up")
                break
        check_refusals(ledger.answers)
        await run.judge(ledger, site, key)
    await _check_indexes(own_postgres.server, run)


def _rounds(kills: int) -> list[int]:
    return [min(ROUND, kills - start) for start in range(0, kills, ROUND)]


async def _kill(run: Run, kill: Callable[[], Awaitable[None]], ledger: Ledger, site: Site) -> None:
    run.kills += 1
    await kill()
    back = time.monotonic()
    await ledger.until_acked(ACKED_BETWEEN)
    assert site.service.is_running()
    took_s = time.monotonic() - back
    run.recovered(took_s)
    run.say(f"kill {run.kills}, {kill.__name__}: events are acked again after {took_s:.1f} s")


async def _check_indexes(server: EmbeddedPostgres, run: Run) -> None:
    """Compare each index with its table by pg_amcheck."""
    done = await asyncio.create_subprocess_exec(
        server.files.programs / "pg_amcheck",
        *("--install-missing", "--heapallindexed", "--parent-check", DATABASE),
        env={"PGPASSWORD": server.files.password.read_text(), **_address(server)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await done.communicate()
    run.say(f"amcheck ended with {done.returncode}")
    assert (0, b"") == (done.returncode, said)


def _address(server: EmbeddedPostgres) -> dict[str, str]:
    return {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres"}
