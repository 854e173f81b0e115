"""Fixtures of all tests: a clean environment, one PostgreSQL per run, a database per test."""

import asyncio
import importlib.util
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from provision import postgres
from provision.keys import NewKey, Profile
from provision.migrate import migrate
from provision.tenants import create_tenant
from tests.acceptance.own_postgres import OwnPostgres, lent_postgres
from tests.nightly import IS_NIGHTLY

ROOT: Final = Path(__file__).parent.parent
# In a nightly run the timeout ends only tests that hang.
NIGHTLY_TIMEOUT_S: Final = 3_600
# The last paragraph of the docstring of a test module.
USER_IMPACT: Final = re.compile(r"^If these tests fail: (.+)", re.MULTILINE | re.DOTALL)
# Prefix of all databases that tests create and drop.
TEST_DATABASE_PREFIX: Final = "forebay_test_"

MakeTenant = Callable[..., Awaitable[NewKey]]
MakeRole = Callable[[str], Awaitable["Role"]]

# A developer's settings must not affect tests.
GIVEN_DATABASE_URL: Final = os.environ.pop("DATABASE_URL", None)
for _name in [name for name in os.environ if name.startswith("FOREBAY_")]:
    del os.environ[_name]


def pytest_configure() -> None:
    """Refuse to test a native core that is older than its sources: pytest does not build it."""
    spec = importlib.util.find_spec("service._native")
    built = Path(spec.origin).stat().st_mtime if spec and spec.origin else 0.0
    sources = [ROOT / "Cargo.lock", *(ROOT / "native/src").rglob("*.rs")]
    if built < max(path.stat().st_mtime for path in sources):
        raise pytest.UsageError("the native core is missing or stale: run make setup")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that run only with NIGHTLY=1."""
    if not IS_NIGHTLY:
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
        return
    for item in items:
        item.add_marker(pytest.mark.timeout(NIGHTLY_TIMEOUT_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what a user would see."""
    report = yield
    module = item.getparent(pytest.Module)
    found = USER_IMPACT.search((module and module.obj.__doc__) or "")
    if report.failed and found:
        report.sections.append(("What this means for a user", " ".join(found[1].split())))
    return report


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a superuser's database on the server of DATABASE_URL, else on a server of this run."""
    if GIVEN_DATABASE_URL:
        yield GIVEN_DATABASE_URL
        return
    folder = Path(tempfile.mkdtemp(prefix="forebay-tests-"))
    # As root the server runs as another user, which needs access.
    folder.chmod(0o711)
    # With durable settings, because the service refuses a server without them.
    server = postgres.start(folder / "server", max_connections=200, max_wal_senders=0)
    try:
        yield server.url()
    finally:
        server.stop()
        shutil.rmtree(server.files.home)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def lasting_postgres() -> Iterator[OwnPostgres]:
    """The server of `own_postgres`, which tests use one after the other."""
    with lent_postgres() as own:
        yield own


@pytest.fixture(scope="session")
def lasting_crowded_postgres() -> Iterator[OwnPostgres]:
    """The server of `crowded_postgres`, with few connections, used by one test at a time."""
    with lent_postgres(max_connections=20) as own:
        yield own


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """Name of a migrated database that is copied for each test."""
    name = _new_name("template_")
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))
    asyncio.run(migrate(on_database(postgres_url, name)))
    yield name
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database for this test."""
    yield from own_database(postgres_url, f"TEMPLATE {template_database}")


@pytest.fixture
def bare_database_url(postgres_url: str) -> Iterator[str]:
    """URL of an empty database for this test."""
    yield from own_database(postgres_url, "TEMPLATE template0")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to the test's database."""
    lent = await asyncpg.connect(database_url)
    yield lent
    lent.terminate()


@pytest.fixture
def make_tenant(database_url: str) -> MakeTenant:
    """Create a tenant with a workspace and a key: `await make_tenant("acme", profile=…)`."""

    async def make(
        name: str = "acme", workspace: str = "default", profile: Profile = Profile.DEFAULT
    ) -> NewKey:
        lent = await asyncpg.connect(database_url)
        try:
            return await create_tenant(lent, name, workspace=workspace, profile=profile)
        finally:
            lent.terminate()

    return make


class Role(NamedTuple):
    """A role that owns nothing, and the URL of the test's database for this role."""

    name: str
    url: str


@pytest.fixture
async def make_role(
    database_url: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[MakeRole]:
    """Create roles with privileges on the tables of the test's database: `make_role("SELECT")`."""
    made: list[str] = []

    async def make(rights: str) -> Role:
        name, password = f"{TEST_DATABASE_PREFIX}role_{secrets.token_hex(6)}", secrets.token_hex(6)
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        made.append(name)
        await connection.execute(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {name}")
        parts = urlsplit(database_url)
        where = parts.netloc.rpartition("@")[2]
        return Role(name, urlunsplit(parts._replace(netloc=f"{name}:{password}@{where}")))

    yield make
    for name in made:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = $1", name
        )
        await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def tenant(make_tenant: MakeTenant) -> NewKey:
    """Create one tenant, `acme`, with a key of the default profile."""
    return await make_tenant()


def on_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def own_database(postgres_url: str, options: str) -> Iterator[str]:
    """Create a database, drop it after the block; return its URL."""
    name = _new_name()
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name} {options}"))
    yield on_database(postgres_url, name)
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


def _new_name(kind: str = "") -> str:
    return f"{TEST_DATABASE_PREFIX}{kind}{secrets.token_hex(6)}"


async def _execute(url: str, command: str) -> None:
    admin = await asyncpg.connect(url)
    try:
        await admin.execute(command)
    finally:
        admin.terminate()
