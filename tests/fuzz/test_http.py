"""
Any bytes on raw connections to a running service, by a grammar of HTTP/1.1.

Some requests are correct; the others have faults in their request line, headers, length, chunks or
order, hide another request in their body, arrive slowly, or end early. A second reading of the same
bytes (`tests/fuzz/framing.py`) says which requests they contain. `tests/fuzz/README.md` says how to
run it for hours and how to repeat a case.

If these tests fail: a stranger can end a worker, smuggle a request past a proxy, or make a correct
request lose its answer or its events.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.fuzz.grammar import ConnectionWriter
from tests.fuzz.http_client import tell
from tests.fuzz.http_player import BrokenRuleError, HttpPlayer
from tests.fuzz.runs import Run
from tests.fuzz.talks import HttpCase

ROUND_CASES = 12
# A busy machine is no reason to refuse a correct request.
LONG_TIMEOUTS = {
    "acquire_timeout_s": "30",
    "flush_timeout_s": "30",
    "statement_timeout_ms": "30000",
    "request_log": "false",
}
# A dozen cases at the same time exceed them.
LOW_LIMITS = {
    "requests_max": "4",
    "header_timeout_s": "1",
    "body_timeout_s": "0.2",
    "answer_timeout_s": "1",
    "idle_timeout_s": "20",
    "unauthorized_per_second": "5",
    "unauthorized_delay_max_ms": "20",
    "read_buffer_bytes": "16384",
    "payload_bytes_max": "16384",
    "bodies_bytes_max": "1100000",
    "queue_rows_max": "10",
}


@pytest.fixture(params=[{}, LOW_LIMITS], ids=["defaults", "low_limits"])
async def player(
    start_site: StartSite, request: pytest.FixtureRequest
) -> AsyncIterator[HttpPlayer]:
    site = await start_site(**LONG_TIMEOUTS, **request.param)
    key = await site.make_key()
    honest = await wire.connect(site.service.url)
    may_be_overloaded = bool(request.param)
    async with site.database() as connection:
        yield HttpPlayer(site.service, connection, key, honest, may_be_overloaded=may_be_overloaded)
    honest.close()


async def test_any_bytes_leave_the_service_healthy_and_store_only_what_was_acknowledged(
    player: HttpPlayer,
) -> None:
    run = Run("http", part=0.5)
    for case in run.corpus(HttpCase):
        await player.play([case])
    for round_seed in run.rounds():
        writer = ConnectionWriter(round_seed)
        cases = [writer.case() for _ in range(ROUND_CASES)]
        try:
            await player.play(cases)
        except Exception as error:
            talk = error.talk if isinstance(error, BrokenRuleError) else None
            talks = [talk for case in cases for talk in case.talks] if talk is None else [talk]
            error.add_note(run.report(round_seed, HttpCase(talks)))
            raise
        run.executions += sum(len(case.talks) for case in cases)
    await player.check_at_rest()
    await player.check_stop()


async def test_any_bytes_leave_the_metrics_port_working(start_site: StartSite) -> None:
    service = (await start_site(request_log="false", workers="1")).service
    run = Run("metrics", part=0.2)
    for round_seed in run.rounds():
        writer = ConnectionWriter(round_seed)
        talks = [writer.talk() for _ in range(ROUND_CASES)]
        for talk in talks:
            for step in talk.steps:
                step.send = step.send.replace("/v1/batch", "/health").replace("/v1/", "/health/")
        await asyncio.gather(*(tell(service.metrics_port, talk, "") for talk in talks))
        run.executions += len(talks)
        async with httpx.AsyncClient() as client:
            answer = await client.get(service.metrics_url.replace("/metrics", "/health/ready"))
        note = f"repeat: FUZZ_SEED={round_seed} .venv/bin/pytest -n0 tests/fuzz -k metrics"
        assert (200, "", True) == (
            answer.status_code,
            service.complaints,
            service.is_running(),
        ), note
    async with httpx.AsyncClient() as client:
        assert (await client.get(service.metrics_url)).status_code == 200
