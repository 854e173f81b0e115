"""
Metrics: values, names and labels.

If these tests fail: dashboards and alerts of an operator show wrong numbers.
"""

import asyncio
import re

from prometheus_client import REGISTRY

from service.obs.metrics import Metrics

UNITS = "seconds|days|rows|bytes|workers|connections|keys"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_events_are_counted_by_outcome() -> None:
    metrics = Metrics()
    before = value("forebay_events_total", outcome="accepted")

    metrics.events_ended("accepted", 3)
    metrics.events_ended("accepted", 4)

    assert 7 == value("forebay_events_total", outcome="accepted") - before


def test_requests_are_timed_by_endpoint_and_status() -> None:
    name = "forebay_request_duration_seconds_count"
    before = value(name, endpoint="batch", status="200")
    metrics = Metrics()

    metrics.request_answered("batch", 200, 0.01)
    metrics.request_answered("batch", 200, 0.01)
    metrics.request_answered("batch", 503, 0.01)

    assert 2 == value(name, endpoint="batch", status="200") - before


def test_flushes_are_measured_and_their_faults_counted() -> None:
    metrics = Metrics()
    names = ("forebay_flush_rows_sum", "forebay_flush_duration_seconds_count")
    before = [value(name) for name in names]
    faults = value("forebay_flush_faults_total", fault="retry")

    metrics.batch_flushed(40, 17, 0.2)
    metrics.flush_failed("retry")
    metrics.flush_failed("retry")

    assert [40, 1] == [value(name) - was for name, was in zip(names, before, strict=True)]
    assert 2 == value("forebay_flush_faults_total", fault="retry") - faults


def test_a_request_is_counted_in_the_bucket_of_its_duration() -> None:
    name = "forebay_request_duration_seconds"
    labels = {"endpoint": "page", "status": "200"}
    bounds = ("0.001", "0.0025", "0.5", "10.0", "+Inf")
    before = [value(f"{name}_bucket", **labels, le=bound) for bound in bounds]
    total_s = value(f"{name}_sum", **labels)
    metrics = Metrics()

    for duration_s in (11.0, 0.001, 0.002, 0.4):
        metrics.request_answered("page", 200, duration_s)

    after = [value(f"{name}_bucket", **labels, le=bound) for bound in bounds]
    assert [1, 2, 3, 3, 4] == [now - was for now, was in zip(after, before, strict=True)]
    assert round(value(f"{name}_sum", **labels) - total_s, 6) == 11.403


async def test_counts_of_a_burst_are_written_together_soon_after() -> None:
    names = ("forebay_flush_rows_sum", "forebay_flush_duration_seconds_count")
    endpoint = {"endpoint": "alias", "status": "200"}

    def seen() -> list[float]:
        requests = value("forebay_request_duration_seconds_count", **endpoint)
        return [value("forebay_events_total", outcome="conflict"), requests, *map(value, names)]

    before = seen()
    metrics = Metrics()

    for _ in range(3):
        metrics.request_answered("alias", 200, 0.01)
        metrics.events_ended("conflict", 2)
        metrics.batch_flushed(5, 0, 0.01)
    at_once = seen()
    async with asyncio.timeout(10):
        while seen() == before:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)

    assert at_once == before
    assert [6, 3, 15, 3] == [now - was for now, was in zip(seen(), before, strict=True)]


async def test_collected_counts_can_be_written_at_once() -> None:
    before = value("forebay_events_total", outcome="rejected")
    metrics = Metrics()

    metrics.events_ended("rejected", 2)
    metrics.write()
    metrics.write()

    assert 2 == value("forebay_events_total", outcome="rejected") - before


def test_dropped_quarantine_is_counted() -> None:
    before = value("forebay_quarantine_dropped_total", cause="bytes")

    Metrics().quarantine_dropped("bytes")

    assert 1 == value("forebay_quarantine_dropped_total", cause="bytes") - before


def test_key_look_ups_are_counted_by_result_and_delayed_answers_too() -> None:
    before = value("forebay_key_lookups_total", result="unknown")
    delayed = value("forebay_unauthorized_delayed_total")
    metrics = Metrics()

    metrics.keys_looked_up("unknown", 3)
    metrics.unauthorized_delayed()

    assert 3 == value("forebay_key_lookups_total", result="unknown") - before
    assert 1 == value("forebay_unauthorized_delayed_total") - delayed


def test_the_size_of_the_quarantine_and_the_connections_are_shown() -> None:
    name = "forebay_database_connections"
    metrics = Metrics()

    metrics.measured(4_096, open_=5, idle=2)
    metrics.measured(None, open_=5, idle=2)

    assert 4_096 == value("forebay_quarantine_bytes")
    assert [3, 2] == [value(name, state=state) for state in ("in_use", "idle")]


def test_a_worker_that_cannot_store_is_counted_until_it_can() -> None:
    name, labels = "forebay_store_unavailable_workers", {"cause": "full", "subject": ""}

    Metrics().store_unavailable("full", "", is_so=True)
    assert 1 == REGISTRY.get_sample_value(name, labels)
    Metrics().store_unavailable("full", "", is_so=False)

    assert 0 == REGISTRY.get_sample_value(name, labels)


def test_names_say_whose_they_are_and_in_which_unit() -> None:
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith("forebay_")]

    assert len(ours) >= 7
    for metric in ours:
        unit = "" if metric.type == "counter" else f"_({UNITS})"
        assert re.fullmatch(f"forebay_[a-z_]+{unit}", metric.name), metric.name
        assert metric.documentation.endswith(".")
