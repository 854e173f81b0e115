"""
Rejected events and refused requests in the metrics and in the log.

If these tests fail: an SDK loses events, and nobody sees which key and why.
"""

from functools import partial
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.running import until
from tests.acceptance.site import Site, new_ids, track, tracks

EVENTS: Final = "forebay_rejected_events_total"
REQUESTS: Final = "forebay_key_refused_requests_total"


async def counts(site: Site, name: str) -> dict[tuple[str, str], float]:
    """Return the values of a metric by key and code."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(site.service.metrics_url)).text
    return {
        (sample.labels["key"], sample.labels["code"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def test_rejects_are_counted_by_key_and_code_over_all_workers(site: Site) -> None:
    one, other = await site.make_key(), await site.make_key()
    for key, times in ((one, 2), (other, 1)):
        async with site.client_of_each_worker(key) as clients:
            for client in clients.values():
                for _ in range(times):
                    bad = [{"type": "track"}, track(timestamp="secret"), track()]
                    await client.post("/v1/batch", json={"batch": bad})
                await client.post("/v1/track", json={})
                await client.post("/v1/batch", json=tracks(new_ids(60)))

    workers = site.service.workers
    assert {
        (one.key_id, "missing_field"): 3 * workers,
        (one.key_id, "invalid_timestamp"): 2 * workers,
        (other.key_id, "missing_field"): 2 * workers,
        (other.key_id, "invalid_timestamp"): workers,
    } == await counts(site, EVENTS)
    assert {
        (one.key_id, "batch_too_large"): workers,
        (other.key_id, "batch_too_large"): workers,
    } == await counts(site, REQUESTS)


async def test_the_first_reject_of_a_key_and_code_is_logged_by_each_worker(site: Site) -> None:
    key = await site.make_key()
    canary = "canary-of-the-sender"
    ids: list[str] = []
    async with site.client_of_each_worker(key) as clients:
        for client in clients.values():
            for _ in range(3):
                bad = track(timestamp=canary, properties={"x": canary})
                answer = await client.post("/v1/batch", json={"batch": [bad, bad, track()]})
                ids.append(answer.headers["x-request-id"])
                await client.post("/v1/batch", json=tracks(new_ids(60)))

    async def lines(event: str) -> list[dict[str, Any]]:
        found = site.service.log_lines(event)
        return found if len(found) >= site.service.workers else []

    found = await until(partial(lines, "events_rejected"), 10, "every worker has logged a line")
    assert set(ids[::3]) == {line["request_id"] for line in found}
    assert len(found) == site.service.workers
    for line in found:
        assert ("warning", key.key_id, key.tenant_id, key.workspace_id) == tuple(
            line[name] for name in ("level", "key_id", "tenant_id", "workspace_id")
        )
        assert ("invalid_timestamp", "timestamp", 2) == tuple(
            line[name] for name in ("code", "field", "events")
        )
        assert "timestamp … is not an ISO 8601 time" in line["message"]
    refused = await until(partial(lines, "request_refused"), 10, "every worker has logged a line")
    assert ["batch_too_large"] * site.service.workers == [line["code"] for line in refused]
    assert "A key with the profile segment" in refused[0]["message"]
    assert canary not in site.service.log
