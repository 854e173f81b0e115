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
from mmap import mmap
from typing import Any, NamedTuple

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
from service.obs import key_labels
from service.pipeline import rate_limits
from tests.conftest import MakeTenant
from tests.fuzz.edge_player import EdgePlayer, Keys
from tests.fuzz.exchanges import EdgeCase, edge_cases
from tests.fuzz.runs import Run

ROUND_CASES = 50
SHORT_BODY_TIMEOUT_S = 0.01
SETTINGS: dict[str, Any] = {
    "quarantine_rows_per_minute": 1_000_000_000,
    "quarantine_bytes_per_minute": 1_000_000_000_000,
    "unauthorized_delay_max_ms": 5,
    # A busy machine is no reason to refuse a correct request.
    "acquire_timeout_s": 30.0,
    "flush_timeout_s": 30.0,
    "statement_timeout_ms": 30_000,
    "request_log": False,
}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Hypothesis calls plain functions, which need an event loop of their own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as made:
        yield made


class Players(NamedTuple):
    """Players of a worker that waits for bodies, and of one that soon gives up on them."""

    patient: EdgePlayer
    impatient: EdgePlayer

    async def play(self, case: EdgeCase) -> None:
        is_short = any(request.ending == "timeout" for request in case.exchanges)
        await (self.impatient if is_short else self.patient).play(case)


@pytest.fixture
def players(
    runner: asyncio.Runner, database_url: str, make_tenant: MakeTenant
) -> Iterator[Players]:
    connection = runner.run(asyncpg.connect(database_url))
    workers: list[Worker] = []

    async def make_keys() -> Keys:
        own, other, revoked = [await make_tenant(name) for name in ("acme", "other", "gone")]
        await revoke_key(connection, revoked.key_id)
        return Keys(own, other, revoked, apikey.mint().text)

    async def start(keys: Keys, body_timeout_s: float) -> EdgePlayer:
        config = Config(body_timeout_s=body_timeout_s, **SETTINGS)
        sockets, shared = (
            Sockets(0, socket.AF_INET),
            mmap(-1, rate_limits.MEMORY_BYTES + key_labels.MEMORY_BYTES),
        )
        worker = Worker(config, database_url, SystemClock(), sockets, shared)
        workers.append(worker)
        return EdgePlayer(worker, await worker.start(), config, connection, keys)

    async def start_both() -> Players:
        keys = await make_keys()
        players = Players(await start(keys, 10.0), await start(keys, SHORT_BODY_TIMEOUT_S))
        await asyncio.sleep(0.2)  # the background tasks of the workers begin
        return players

    yield runner.run(start_both())
    for worker in workers:
        runner.run(worker.stop())
    connection.terminate()


def test_any_requests_get_one_documented_answer_each_and_lose_no_event(
    runner: asyncio.Runner, players: Players
) -> None:
    run = Run("edge")
    for case in run.corpus(EdgeCase):
        runner.run(players.play(case))
    for round_seed in run.rounds():
        _play_round(run, round_seed, runner, players)


def _play_round(run: Run, round_seed: str, runner: asyncio.Runner, players: Players) -> None:
    last: list[EdgeCase] = []

    @seed(round_seed)
    @settings(
        max_examples=ROUND_CASES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(edge_cases(round_seed))
    def play(case: EdgeCase) -> None:
        run.executions += len(case.exchanges)
        last[:] = [case]
        runner.run(players.play(case))

    try:
        play()
    except BaseException as error:
        # The last case that Hypothesis plays is the smallest one that fails.
        error.add_note(run.report(round_seed, last[0]))
        raise
