"""Every error is sorted into the class that has its cure."""

import asyncpg
import pytest
from asyncpg.exceptions._base import DataError as UnencodableError  # the client's own

from service.store.faults import (
    Fault,
    SilentRollbackError,
    StaleSessionError,
    UnsafeSessionError,
    VanishedError,
    classify,
    is_about_types,
)


def server_error(state: str, **fields: str) -> asyncpg.PostgresError:
    """Return what asyncpg raises for a state of the server."""
    codes = {"C": state, "M": "it failed", "S": "ERROR"} | fields
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(codes)
    return error


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("22P05", Fault.DATA),  # \u0000 in a jsonb
        ("22021", Fault.DATA),
        ("22001", Fault.DATA),
        ("22P02", Fault.DATA),
        ("23502", Fault.DATA),
        ("54000", Fault.DATA),
        ("21000", Fault.DATA),
        ("40P01", Fault.RETRY),
        ("40001", Fault.RETRY),
        ("55P03", Fault.HELD),
        ("57014", Fault.RETRY),
        ("57P01", Fault.LOST),
        ("57P02", Fault.LOST),
        ("57P03", Fault.LOST),
        ("57P05", Fault.LOST),
        ("25P03", Fault.LOST),
        ("25006", Fault.LOST),
        ("08006", Fault.LOST),
        ("08P01", Fault.LOST),
        ("53100", Fault.CAPACITY),
        ("53200", Fault.CAPACITY),
        ("53300", Fault.CAPACITY),
        ("42P01", Fault.BUG),
        ("42501", Fault.BUG),
        ("23505", Fault.BUG),
        ("XX000", Fault.BUG),
    ],
)
def test_a_state_of_the_server_has_its_class(state: str, expected: Fault) -> None:
    assert classify(server_error(state)) is expected


def test_a_check_without_a_name_is_a_missing_partition() -> None:
    assert classify(server_error("23514")) is Fault.PARTITION


def test_a_check_with_a_name_is_about_the_data() -> None:
    assert classify(server_error("23514", n="events_is_valid")) is Fault.DATA


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SilentRollbackError("ROLLBACK"), Fault.RETRY),
        (VanishedError(), Fault.RETRY),
        (StaleSessionError(), Fault.RETRY),
        (UnsafeSessionError("fsync"), Fault.CAPACITY),
        (ConnectionResetError(), Fault.LOST),
        (TimeoutError(), Fault.LOST),
        (asyncpg.InterfaceError("connection is closed"), Fault.LOST),
        (asyncpg.InternalClientError("not connected"), Fault.LOST),
        (UnencodableError("value out of range"), Fault.DATA),
        (OverflowError("int too large"), Fault.DATA),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), Fault.DATA),
        (TypeError("a bug"), Fault.BUG),
        (KeyError("a bug"), Fault.BUG),
        (MemoryError(), Fault.BUG),
    ],
)
def test_an_error_on_the_way_has_its_class(error: BaseException, expected: Fault) -> None:
    assert classify(error) is expected


def test_a_lost_connection_says_nothing_of_types() -> None:
    lost = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    assert lost.severity is None
    assert not is_about_types(lost)
    assert Fault.LOST is classify(lost)
