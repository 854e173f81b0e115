"""
Faults under load; the client's file is compared with the database.

`make test` runs the short form, `make chaos` and `make nightly` run the same tests with larger
numbers (NIGHTLY=1). Both end with a table of the faults and of lost events.
"""

from typing import Final

import pytest

from tests.acceptance.conftest import (
    StartSite,
    crowded_postgres,
    make_service,
    own_postgres,
    start_site,
)
from tests.acceptance.ledger import TAKES_MANY
from tests.acceptance.site import Site
from tests.chaos.report import REPORT
from tests.chaos.small_disk import small_disk
from tests.nightly import IS_NIGHTLY

__all__ = ["crowded_postgres", "make_service", "own_postgres", "small_disk", "start_site"]

# Ends only a test that hangs: recovery has its own limits, and the machine may be busy.
TIMEOUT_S: Final = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the timeouts of the fault runs; in a nightly run they are longer for every test."""
    if IS_NIGHTLY:
        return
    for item in items:
        if "tests/chaos/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the runs."""
    if REPORT.runs:
        terminalreporter.section("fault runs", sep="-")
        terminalreporter.write_line(REPORT.as_markdown())


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    """Return a site for this test whose flushes use both ways of writing."""
    return await start_site(**TAKES_MANY)


@pytest.fixture
def is_long() -> bool:
    """Whether this is the long form."""
    return IS_NIGHTLY
