"""
The health endpoints.

If these tests fail: a load balancer sends requests to workers that cannot store them, or none to
healthy ones.
"""

import pytest

from service.edge.probes import DatabaseReport
from tests.unit.edge.client import EdgeBench


@pytest.fixture
async def bench() -> EdgeBench:
    return EdgeBench()


async def test_a_worker_that_can_store_is_healthy_and_ready(bench: EdgeBench) -> None:
    health, ready = await bench.ask("GET", "/health"), await bench.ask("GET", "/health/ready")

    assert (200, "ok", "1.2.3") == (
        health.status,
        health.content["status"],
        health.content["version"],
    )
    assert {"status": "ok", "latency_ms": 1.0} == health.content["database"]
    assert {"status": "ok"} == health.content["quarantine"]
    members = {"status", "version", "uptime_s", "database", "quarantine", "background"}
    assert members == set(health.content)
    assert (200, "ready") == (ready.status, ready.content["status"])


@pytest.mark.parametrize("fault", ["database", "draining"])
async def test_a_worker_that_cannot_store_is_alive_but_not_ready(
    bench: EdgeBench, fault: str
) -> None:
    if fault == "database":
        bench.database = DatabaseReport("unavailable", "full", "It is full.")
    else:
        bench.state.is_draining = True

    health, live, ready = [
        await bench.ask("GET", path) for path in ("/health", "/health/live", "/health/ready")
    ]

    assert (503, 200, 503) == (health.status, live.status, ready.status)
    assert "unavailable" == health.content["status"]
    expected = {"database": "full", "draining": "draining"}
    assert expected[fault] == ready.content["reason"]
    assert ("It is full." if fault == "database" else None) == ready.content.get("message")


async def test_a_full_quarantine_is_shown_and_the_worker_stays_ready(bench: EdgeBench) -> None:
    bench.is_quarantine_full = True

    health = await bench.ask("GET", "/health")

    assert (200, {"status": "full"}) == (health.status, health.content["quarantine"])


async def test_the_index_says_where_things_are(bench: EdgeBench) -> None:
    content = (await bench.ask("GET", "/")).content

    assert ("forebay", "1.2.3") == (content["service"], content["version"])
    assert "/v1/batch" in content["send"]
