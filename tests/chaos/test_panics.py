"""The core panics under load: that costs its own request, at once, and nobody else."""

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from service import _native
from tests.acceptance.ledger import Event, Ledger, event_of, load, mixed, new_ledger
from tests.acceptance.running import ROOT, Service, until
from tests.acceptance.site import Site, new_ids
from tests.chaos.panicking import FEATURE, IN_SCAN, build_panicking
from tests.chaos.report import REPORT

MATES: Final = 4
# Promised is one second; a busy machine is given five times as long, and what it took is noted.
ANSWER_S: Final = 5.0
ACKED_BETWEEN: Final = 20


@pytest.fixture
async def panicking_site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Return a running service whose core panics when it is asked to."""
    root = await build_panicking(tmp_path / "panicking")
    service = Service(database_url, tmp_path, root=root)
    try:
        await service.start()
        yield Site(service, database_url)
    finally:
        service.kill()


async def test_a_panic_in_the_scan_is_answered_at_once_and_harms_nobody(
    panicking_site: Site, *, is_long: bool
) -> None:
    """Its batch is not stored, the others' are, and the workers serve on."""
    site, run = panicking_site, REPORT.begin("the core panics in a scan")
    key, ledger, workers = await site.make_key(), new_ledger(site), set(site.service.worker_pids)
    panics = 200 if is_long else 20
    batches = mixed(ledger, seed=1)
    loading = load(site, key, connections=4, ledger=ledger, batches=batches)
    async with loading, site.client(key) as client:
        for _ in range(panics):
            events = asking_for(IN_SCAN)
            ledger.write_sent(events)
            answer = await client.post("/v1/batch", json={"batch": events})
            ledger.write_answer(events, answer)
            run.cuts += 1
            run.recovered(answer.elapsed.total_seconds())
            assert (500, "internal_error") == (answer.status_code, answer.json()["code"])
            await _until_acked(ledger)
    assert run.recovery_s < ANSWER_S
    assert panics == ledger.statuses.pop(500)
    assert {200} == set(ledger.statuses)
    assert not ledger.faults
    assert workers == set(site.service.worker_pids)
    assert panics == len(site.service.log_lines("request_failed"))
    await run.judge(ledger, site, key)


def test_no_core_that_serves_can_be_asked_to_panic() -> None:
    """Neither the one that is installed, nor one in a wheel: none is built with the feature."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    features = tomllib.loads((ROOT / "native/Cargo.toml").read_text())["features"]
    asked = msgspec.json.encode({"batch": asking_for(IN_SCAN)})

    assert ["python", "pyo3/extension-module"] == project["tool"]["maturin"]["features"]
    assert {"default": ["python"], "python": ["dep:pyo3"], FEATURE: []} == features
    assert IN_SCAN.encode() not in Path(_native.__file__).read_bytes()
    assert isinstance(_native.scan_batch(asked, 50), _native.Scan)


def asking_for(text: str) -> list[Event]:
    """Return a batch of new events, the middle one of which asks for a panic."""
    events = [event_of(event_id) for event_id in new_ids(MATES + 1)]
    events[MATES // 2] = {**events[MATES // 2], "properties": {"asked": text}}
    return events


async def _until_acked(ledger: Ledger) -> None:
    acked = len(ledger.verdicts)

    async def has_gone_on() -> bool:
        return len(ledger.verdicts) >= acked + ACKED_BETWEEN

    await until(has_gone_on, 5 * ANSWER_S, "the others are served")
