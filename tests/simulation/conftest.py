"""The option `--seed`, which replays one seed of the simulation."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="simulate this seed alone, and print what happened")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int | None:
    """Return the seed to replay. Only with this folder named does pytest know the option."""
    given: int | None = pytestconfig.getoption("seed", None)
    return given
