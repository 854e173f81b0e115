"""
Result files, and the page rendered from them.

If these tests fail: bench/README.md shows figures that were not measured.
"""

from pathlib import Path

import pytest

from bench import render
from bench.experiment import LoadError
from bench.figures import read_results, write_result
from bench.goals import table
from bench.scenarios import read_wrk

WRK = """
  2 threads and 64 connections
  Latency Distribution
     50%   23.90ms
     90%   1.20s
     99%  850.00us
  1000 requests in 1.00s, 0.2MB read
Requests/sec:   2026.50
"""


def test_written_results_are_read_back(tmp_path: Path) -> None:
    samples = [{"side": "service", "p50_ms": 1.25}, {"side": "naive", "p50_ms": 2.5}]

    write_result({"scenario": "batches", "rounds": 5}, samples, tmp_path / "results")

    assert read_results(tmp_path / "results") == {
        "batches": {"scenario": "batches", "rounds": 5, "samples": samples}
    }


def test_only_the_rendered_part_of_a_page_is_replaced() -> None:
    page = f"# Head\n\n{render.BEGIN}\n\nold\n\n{render.END}\n\nfoot\n"

    shown = render.inserted(page, "new")

    assert shown == f"# Head\n\n{render.BEGIN}\n\nnew\n\n{render.END}\n\nfoot\n"
    assert render.inserted(shown, "new") == shown


def test_a_page_without_its_marks_is_not_changed() -> None:
    with pytest.raises(ValueError, match="does not have the marks"):
        render.inserted("# Head\n", "new")


def test_the_page_has_its_marks() -> None:
    assert render.BEGIN in render.PAGE.read_text()
    assert render.END in render.PAGE.read_text()


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_table_shows_medians_and_ranges() -> None:
    at = {"scenario": "peaks", "side": "service", "batch": 1, "tool": "wrk", "p50_ms": 1.0}
    samples = [at | {"p99_ms": 9.0, "requests_per_s": rate} for rate in (1_000.0, 3_000.0, 1_500.0)]

    (section,) = (section for section in render.SECTIONS if section.scenario == "peaks")
    assert render.section_table(section, samples).splitlines()[2:] == [
        "| 1 | wrk | 1,500 (1,000 to 3,000) | 1.0 | 9.0 |"
    ]


def test_the_output_of_wrk_is_read_with_its_units() -> None:
    assert read_wrk(WRK) == {
        "requests_per_s": 2026.5,
        "p50_ms": 23.9,
        "p90_ms": 1_200.0,
        "p99_ms": pytest.approx(0.85),
    }


@pytest.mark.parametrize("line", ["Non-2xx or 3xx responses: 7", "Socket errors: connect 1"])
def test_a_run_of_wrk_with_a_fault_does_not_count(line: str) -> None:
    with pytest.raises(LoadError, match="wrk: "):
        read_wrk(WRK + line)


@pytest.mark.parametrize(
    ("rounds", "others_cpu_s", "is_warned_of"), [(5, 0.3, False), (2, 0.3, True), (5, 0.5, True)]
)
def test_the_page_names_scenarios_that_were_measured_too_briefly_or_on_a_busy_machine(
    rounds: int, others_cpu_s: float, is_warned_of: bool
) -> None:
    sample = {
        "scenario": "peaks",
        "batch": 1,
        "tool": "wrk",
        "others_cpu_s": others_cpu_s,
        "watched_s": 2.0,
    }
    versions = {"versions": {}, "cpu": "any", "cores": 2, "memory_bytes": 2**30, "kernel": "6"}
    about = versions | {
        "time": "2026-01-31T12:00:00+00:00",
        "commit": "c0ffee",
        "is_changed": False,
    }
    result = {"about": about, "postgresql_settings": {}, "rounds": rounds, "seconds": 5.0}

    page = render.page({"peaks": result | {"samples": [sample]}})

    assert ("Not to be relied on: peaks." in page) is is_warned_of
