"""
The limit of open files, raised and checked at the start.

If these tests fail: clients use up the file descriptors that a worker needs for PostgreSQL.
"""

import resource
from collections.abc import Iterator

import pytest

from service.file_limit import RESERVE, allowed_connections, raise_file_limit


@pytest.fixture
def _low_limit() -> Iterator[None]:
    """Put the soft limit back; the hard one is not changed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_000, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_low_limit")
def test_the_limit_is_raised_to_what_connections_and_the_reserve_need() -> None:
    assert 1_000 - RESERVE == allowed_connections(1_500)
    assert 1_500 == raise_file_limit(1_500)
    assert 1_500 + RESERVE == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert 1_500 == allowed_connections(1_500)


@pytest.mark.usefixtures("_low_limit")
def test_a_limit_that_is_high_enough_is_not_changed() -> None:
    assert 100 == raise_file_limit(100)
    assert 1_000 == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.usefixtures("_low_limit")
def test_above_the_hard_limit_there_are_fewer_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("no hard limit")
    assert hard - RESERVE == raise_file_limit(hard)
    assert hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
