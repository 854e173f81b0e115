"""
Any sequence of requests on the edge of a real worker, with Hypothesis and PostgreSQL.

Each case is up to six requests at the same time; most of them have faults: in their headers,
keys, encodings, bodies, or in the way the body arrives or ends. `tests/fuzz/README.md` says how to
run it for hours and how to repeat a case.

If these tests fail: a faulty request gets no answer or an internal error, or makes another request
lose its events.
"""

import asyncio
import socket
from collections.abc import Iterator

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, Phase, given, seed, settings

from provision.keys import revoke_key
from service import apikey
from service.app import Worker
from service.clock import SystemClock
from service.config import Config
from service.edge.sockets import Sockets
from tests.conftest import MakeTenant
from tests.fuzz.edge_player import EdgePlayer, Keys
from tests.fuzz.exchanges import EdgeCase, edge_cases
from tests.fuzz.runs import Run

ROUND_CASES = 100


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Hypothesis calls plain functions, which need an event loop of their own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as made:
        yield made


@pytest.fixture
def player(
    runner: asyncio.Runner, database_url: str, make_tenant: MakeTenant
) -> Iterator[EdgePlayer]:
    config = Config(
        quarantine_rows_per_minute=1_000_000_000,
        quarantine_bytes_per_minute=1_000_000_000_000,
        unauthorized_delay_max_ms=5,
        request_log=False,
    )

    async def start() -> tuple[EdgePlayer, Worker, "asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(database_url)
        own, other, revoked = [await make_tenant(name) for name in ("acme", "other", "gone")]
        await revoke_key(connection, revoked.key_id)
        worker = Worker(config, database_url, SystemClock(), Sockets(0, socket.AF_INET))
        edge = await worker.start()
        await asyncio.sleep(0.2)  # the background tasks of the worker start
        keys = Keys(own, other, revoked, apikey.mint().text)
        return EdgePlayer(worker, edge, connection, keys), worker, connection

    made, worker, connection = runner.run(start())
    yield made
    runner.run(worker.stop())
    connection.terminate()


def test_any_requests_get_one_documented_answer_each_and_lose_no_event(
    runner: asyncio.Runner, player: EdgePlayer
) -> None:
    run = Run("edge")
    for case in run.corpus(EdgeCase):
        runner.run(player.play(case))
    for round_seed in run.rounds():
        _play_round(run, round_seed, runner, player)


def _play_round(run: Run, round_seed: str, runner: asyncio.Runner, player: EdgePlayer) -> None:
    last: list[EdgeCase] = []

    @seed(round_seed)
    @settings(
        max_examples=ROUND_CASES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(edge_cases())
    def play(case: EdgeCase) -> None:
        run.executions += len(case.exchanges)
        last[:] = [case]
        runner.run(player.play(case))

    try:
        play()
    except BaseException as error:
        # The last case that Hypothesis plays is the smallest one that fails.
        error.add_note(run.report(round_seed, last[0]))
        raise
