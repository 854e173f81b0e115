"""Fixtures that run the whole service under Granian: one shared site, or one for each test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.own_postgres import OwnPostgres, cleaned
from tests.acceptance.running import ROOT, Service
from tests.acceptance.site import Site
from tests.conftest import own_database

StartSite = Callable[..., Awaitable[Site]]
MakeService = Callable[..., Service]


@pytest.fixture(scope="session")
def shared_database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """URL of the database of the shared site."""
    yield from own_database(postgres_url, f"TEMPLATE {template_database}")


@pytest.fixture(scope="session")
def shared(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return the site that tests share if they do not change it."""
    service = Service(shared_database_url, tmp_path_factory.mktemp("shared"))
    try:
        asyncio.run(service.start())
        yield Site(service, shared_database_url)
        assert asyncio.run(service.stop()) == 0
    finally:
        service.kill()


@pytest.fixture
async def start_site(database_url: str, tmp_path: Path) -> AsyncIterator[StartSite]:
    """
    Start services with given settings: `await start_site(body_timeout_s="0.5")`.

    *url* is the database. The service reaches it by another URL when *through* is given.
    """
    with contextlib.ExitStack() as stack:

        async def start(
            url: str = database_url, *, through: str = "", root: Path = ROOT, **settings: str
        ) -> Site:
            service = Service(through or url, tmp_path, root, **settings)
            stack.callback(service.kill)
            await service.start()
            return Site(service, url)

        yield start


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    """Return a site for this test, with the default settings of tests."""
    return await start_site()


@pytest.fixture
def make_service(database_url: str, tmp_path: Path) -> Iterator[MakeService]:
    """Create services that are not started yet; they are killed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def make(url: str = database_url, **settings: str) -> Service:
            service = Service(url, tmp_path, **settings)
            stack.callback(service.kill)
            return service

        yield make


@pytest.fixture
def own_postgres(lasting_postgres: OwnPostgres) -> Iterator[OwnPostgres]:
    """Lend a server that the test may stop, start and reconfigure."""
    yield from cleaned(lasting_postgres)


@pytest.fixture
def crowded_postgres(lasting_crowded_postgres: OwnPostgres) -> Iterator[OwnPostgres]:
    """Lend a server with 20 connections."""
    yield from cleaned(lasting_crowded_postgres)
