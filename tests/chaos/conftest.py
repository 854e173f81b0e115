"""
Faults under load, judged by the client's ledger: a short form, and a long one by `make chaos`.

The long form is the same tests with larger numbers (CHAOS_LONG=1); both end in a report.
"""

import os
from typing import Final

import pytest

from tests.acceptance.conftest import StartSite, make_service, own_postgres, start_site
from tests.acceptance.ledger import TAKES_MANY
from tests.acceptance.site import Site
from tests.chaos.report import REPORT
from tests.chaos.small_disk import small_disk

__all__ = ["make_service", "own_postgres", "small_disk", "start_site"]

IS_LONG: Final = os.environ.get("CHAOS_LONG", "") == "1"


# Only a hang is to be ended: recovery has its own bounds, and the machine may be busy.
TIMEOUT_S: Final = 3_600 if IS_LONG else 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give fault runs, of all the items, the time that they take."""
    for item in items:
        if "tests/chaos/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the runs did and what was lost."""
    if REPORT.runs:
        terminalreporter.section("fault runs", sep="-")
        terminalreporter.write_line(REPORT.as_markdown())


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    """Return a site of the test's own, whose flushes go down both ways."""
    return await start_site(**TAKES_MANY)


@pytest.fixture
def is_long() -> bool:
    """Tell whether this is the long form."""
    return IS_LONG
