"""What a benchmark will not measure, and what it will not touch."""

from pathlib import Path
from typing import Any

import pytest

from bench import traffic
from bench.database import ForeignDatabaseError, require_own

CLEAN = {"statuses": {"200": 10}, "duplicates": 0, "rejected": 0, "broken": 0, "unanswered": 0}


async def test_a_database_that_the_benchmark_did_not_make_is_not_touched(
    connection: Any, tmp_path: Path
) -> None:
    with pytest.raises(ForeignDatabaseError, match="is not touched"):
        await require_own(connection, tmp_path)


async def test_a_database_is_known_by_where_its_data_is(connection: Any, tmp_path: Path) -> None:
    data = Path(await connection.fetchval("SHOW data_directory"))
    way_round = tmp_path / "way-round"
    way_round.symlink_to(data)

    await require_own(connection, way_round)


def test_a_clean_run_counts() -> None:
    traffic.require_sound(CLEAN)


@pytest.mark.parametrize(
    "fault",
    [
        {"statuses": {"200": 10, "503": 1}},
        {"duplicates": 1},
        {"rejected": 1},
        {"broken": 1},
        {"unanswered": 1},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_a_run_in_which_something_was_not_accepted_does_not_count(
    fault: dict[str, object],
) -> None:
    with pytest.raises(traffic.LoadError, match="not clean"):
        traffic.require_sound(CLEAN | fault)
