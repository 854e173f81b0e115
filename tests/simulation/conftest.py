"""The option `--seed`, which replays one seed of the simulation."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="simulate this seed alone, and print what happened")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int | None:
    """The seed to replay. pytest knows the option only if this folder is named."""
    given: int | None = pytestconfig.getoption("seed", None)
    return given
