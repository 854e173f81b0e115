"""Runs each test with each client, and keeps the results for the table in the README."""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.acceptance.conftest import shared, shared_database_url, site, start_site
from tests.sdks.clients import CLIENTS, SHORT, Scenario, SdkClient
from tests.sdks.installs import require
from tests.sdks.results import Cell, Outcome, kept
from tests.sdks.sending import Sent

__all__ = ["shared", "shared_database_url", "site", "start_site"]

# `make sdks` sets it; `make test` runs the short form.
IS_FULL: Final = os.environ.get("SDKS", "") == "all"
TIMEOUT_S: Final = 400
_PROPERTY: Final = "sdk"

Keep = Callable[[Sent], Sent]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with every client, or with those of the short form."""
    if "sdk" not in metafunc.fixturenames:
        return
    clients = [one for one in CLIENTS if IS_FULL or one.name in SHORT]
    parameters = [
        # One process runs all tests of a client, because its driver may be built in its folder.
        pytest.param(one, id=one.name, marks=pytest.mark.xdist_group(f"sdk-{one.name}"))
        for one in clients
    ]
    metafunc.parametrize("sdk", parameters)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the full form, unless it is asked for."""
    for item in items:
        if item.get_closest_marker("scenario"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    if not IS_FULL:
        left_out = [item for item in items if _is_full_only(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_full_only(item)]


def _is_full_only(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("scenario")
    return mark is not None and bool(mark.kwargs.get("is_full_only"))


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """Return the scenario of the test."""
    mark = request.node.get_closest_marker("scenario")
    found: Scenario = mark.args[0]
    return found


@pytest.fixture
async def client(
    request: pytest.FixtureRequest, sdk: SdkClient, record_property: Callable[[str, object], None]
) -> SdkClient:
    """Return the client of the test, installed."""
    if mark := request.node.get_closest_marker("scenario"):
        record_property(_PROPERTY, [sdk.name, mark.args[0].value])
    await asyncio.to_thread(require, sdk)
    return sdk


@pytest.fixture
def keep(record_property: Callable[[str, object], None]) -> Keep:
    """Keep a result for the table."""

    def keep_it(sent: Sent) -> Sent:
        record_property("sent", len(sent.calls))
        record_property("stored", sent.stored)
        if sent.stored < len(sent.calls):
            record_property("told", sent.told)
        return sent

    return keep_it


class Collector:
    """Collects the results of a run; with xdist, in the process that starts the others."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], Cell] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        known: dict[str, Any] = dict(report.user_properties)
        if _PROPERTY not in known or (report.when == "teardown" and report.passed):
            return
        name, scenario = known[_PROPERTY]
        if report.when == "setup" and report.passed:
            return
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        self._cells[name, scenario] = Cell(
            outcome=Outcome.NOT_RUN if report.skipped else Outcome(report.outcome),
            sent=known.get("sent", 0),
            stored=known.get("stored", 0),
            told=known.get("told", "") or reason,
        )

    def pytest_sessionfinish(self) -> None:
        kept(self._cells)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scenario(which, is_full_only): a scenario of the clients")
    if IS_FULL and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(), "sdks-collector")
