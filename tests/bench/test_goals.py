"""
Figures and goals computed from samples.

If these tests fail: the published table of goals is wrong.
"""

from typing import Any

import pytest

from bench import figures
from bench.figures import Sample
from bench.goals import goals


def sample(**given: Any) -> Sample:
    """Return a sample of 2 s with 1,000 events per second and 10 us of service CPU per event."""
    cpu = {"service_cpu_s": 0.02, "postgres_cpu_s": 0.06, "watched_s": 2.0}
    return {"events_per_s": 1_000.0, "p50_ms": 4.0, "p99_ms": 30.0} | cpu | given


def batch(side: str, events_per_s: float) -> Sample:
    at = {"scenario": "batches", "workers": 1, "connections": 128}
    return sample(side=side, events_per_s=events_per_s, **at)


def single(side: str, service_cpu_s: float, **given: Any) -> Sample:
    given |= {"scenario": "singles", "workers": 1, "connections": 32, "side": side}
    return sample(service_cpu_s=service_cpu_s, **given)


def found(*samples: Sample) -> dict[str, tuple[float, bool]]:
    return {goal.name: (round(goal.value or 0, 6), goal.is_met) for goal in goals(list(samples))}


def test_the_cpu_per_event_is_that_of_the_measured_time() -> None:
    assert figures.cpu_us_per_event(sample(), "service") == pytest.approx(10)
    assert figures.cpu_us_per_event(sample(), "postgres") == pytest.approx(30)


def test_a_median_covers_only_the_samples_with_all_given_labels() -> None:
    samples = [batch("service", rate) for rate in (1, 100, 7)] + [batch("naive", 1_000)]

    assert figures.median(samples, "events_per_s", side="service") == 7
    assert figures.median(samples, "events_per_s", side="service", workers=2) is None


def test_the_memory_of_the_second_half_is_compared_with_that_of_the_first() -> None:
    assert figures.second_half_rss({"rss_bytes": [100, 100, 110, 130]}) == pytest.approx(1.2)


def test_without_samples_there_are_no_goals_to_show() -> None:
    assert goals([]) == []


def test_batches_are_compared_with_floor_and_peer() -> None:
    shown = found(batch("service", 800), batch("store_floor", 1_000), batch("naive", 200))

    where = "batches of 50, 128 connections, 1 worker"
    assert shown[f"{where}: events/s ÷ store floor"] == (0.8, True)
    assert shown[f"{where}: events/s ÷ naive peer"] == (4, False)
    assert shown[f"{where}: service CPU per event, us"] == (12.5, False)


def test_single_events_are_compared_with_the_bare_server() -> None:
    shown = found(
        single("http_floor", 0.02),
        single("service", 0.03, request_log=False),
        single("service", 0.035, request_log=True),
    )

    where = "single events, 32 connections, 1 worker"
    assert shown == {
        f"{where}: service CPU ÷ HTTP floor CPU, request log off": (1.5, True),
        f"{where}: what the request log adds to that": (0.25, False),
    }


def test_only_the_latency_at_half_of_the_peak_has_a_goal() -> None:
    at = {"scenario": "latency", "workers": 2}

    shown = found(sample(share=0.5, **at), sample(share=0.9, p50_ms=90.0, **at))

    where = "single events at half of peak, 2 workers"
    assert shown == {f"{where}: p50, ms": (4, True), f"{where}: p99, ms": (30, False)}


def test_a_full_ledger_is_compared_with_the_empty_ones_before_and_after() -> None:
    given = [(0, 900.0), (5_000_000, 850.0), (0, 1_100.0)]
    samples = [sample(scenario="growth", ledger_ids=ids, events_per_s=rate) for ids, rate in given]

    assert list(found(*samples).values()) == [(0.85, True)]


def test_the_p99_after_a_load_is_compared_with_that_of_a_fresh_database() -> None:
    phases = {"fresh": 10.0, "load": 500.0, "after": 35.0}
    samples = [sample(scenario="tidying", phase=name, p99_ms=p99) for name, p99 in phases.items()]

    what = "single events, 4 connections: p99 right after a heavy load ÷ on a fresh database"
    assert {what: (3.5, False)} == found(*samples)
