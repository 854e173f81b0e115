"""
Any bytes on raw connections to a running service, by a grammar of HTTP/1.1.

Some requests are correct; the others have faults in their request line, headers, length, chunks or
order, hide another request in their body, arrive slowly, or end early. A second reading of the same
bytes (`tests/fuzz/framing.py`) says which requests they contain. `tests/fuzz/README.md` says how to
run it for hours and how to repeat a case.

If these tests fail: a stranger can end a worker, smuggle a request past a proxy, or make a correct
request lose its answer or its events.
"""

from collections.abc import AsyncIterator

import pytest

from tests.acceptance import wire
from tests.acceptance.conftest import StartSite
from tests.fuzz.grammar import ConnectionWriter
from tests.fuzz.http_player import BrokenRuleError, HttpPlayer
from tests.fuzz.runs import Run
from tests.fuzz.talks import HttpCase

ROUND_CASES = 12


@pytest.fixture
async def player(start_site: StartSite) -> AsyncIterator[HttpPlayer]:
    site = await start_site(request_log="false")
    key = await site.make_key()
    honest = await wire.connect(site.service.url)
    async with site.database() as connection:
        yield HttpPlayer(site.service, connection, key, honest)
    honest.close()


async def test_any_bytes_leave_the_service_healthy_and_store_only_what_was_acknowledged(
    player: HttpPlayer,
) -> None:
    run = Run("http")
    for case in run.corpus(HttpCase):
        await player.play([case])
    for round_seed in run.rounds():
        writer = ConnectionWriter(round_seed)
        cases = [writer.case() for _ in range(ROUND_CASES)]
        try:
            await player.play(cases)
        except BrokenRuleError as error:
            failed = cases if error.talk is None else [HttpCase([error.talk])]
            together = HttpCase([talk for case in failed for talk in case.talks])
            error.add_note(run.report(round_seed, together))
            raise
        run.executions += sum(len(case.talks) for case in cases)
    await player.check_at_rest()
