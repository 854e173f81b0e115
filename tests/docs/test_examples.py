"""
The examples of the documentation, run against a real service.

If these tests fail: a newcomer copies an example that does not work.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from provision.dev import Running, _welcome, show_command
from tests.docs.conftest import DOCS, Reader
from tests.docs.examples import Example, as_table, examples, masked, run_bash, run_python

# The programs of the pages of SDKs need the SDKs: tests/sdks runs them.
SDK_PAGES = DOCS / "how-to/sdks"
PAGES = sorted(
    page for page in DOCS.rglob("*.md") if any(examples(page)) and page.parent != SDK_PAGES
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
async def test_every_example_of_a_page_works_as_printed(page: Path, reader: Reader) -> None:
    for example in examples(page):
        printed = await printed_by(example, reader)

        if example.printed_as is not None and example.printed is not None:
            expected = masked(example.printed, example.printed_as)
            actual = masked(printed, example.printed_as)
            assert expected == actual, example.where


def test_the_pages_that_are_meant_to_be_run_have_examples() -> None:
    names = {page.relative_to(DOCS).as_posix() for page in PAGES}

    assert {"api/ingestion.md", "tutorial/first-event.md", "reference/schema.md"} <= names


async def printed_by(example: Example, reader: Reader) -> str:
    """Run the example, check the status or the number of rows, and return the other output."""
    if example.language == "sql":
        rows = await fetch(example.text, reader.database_url)
        assert int(example.options["rows"]) == len(rows), example.where
        return as_table(rows)
    run = run_python if example.language == "python" else run_bash
    printed = await asyncio.to_thread(run, example, reader.environment)
    if "status" not in example.options:
        return printed
    body, _, status = printed.rpartition("\n")
    assert example.options["status"] == status, f"{example.where}: {body}"
    return body


async def fetch(query: str, url: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(query)]
    finally:
        connection.terminate()


def test_ids_and_times_of_now_are_masked_and_nothing_else() -> None:
    given = {"id": "02wr5yb5v79q8", "word": "accepted", "at": "2026-11-22T21:02:50.893016+00:00"}
    said = {"id": "<id>", "word": "accepted", "at": "<time>"}

    assert said == masked(json.dumps(given), "json")


def test_the_tutorial_shows_what_make_run_prints() -> None:
    page = (DOCS / "tutorial/first-event.md").read_text(encoding="utf-8").replace("…", "x")
    printed = _welcome(
        Running(
            url="http://127.0.0.1:8000",
            metrics_url="http://127.0.0.1:41379/metrics",
            api_key="fb1_x",
            database_url="postgresql://x",
        ),
        show_command("postgresql://x"),
    )

    for line in printed.splitlines():
        # The page shows the command without the path of the clone.
        shown = line.replace(str(Path(sys.executable).parent) + "/", "")
        assert shown.replace(f"{sys.executable} -m ", "") in page
