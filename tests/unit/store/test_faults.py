"""Every error is sorted into the class that has its cure."""

from typing import Any

import asyncpg
import pytest
from asyncpg.exceptions._base import DataError as UnencodableError  # the client's own

from service.store.faults import (
    Fault,
    MissingRowsError,
    SilentRollbackError,
    StaleSessionError,
    UnconfirmedCommitError,
    UnsafeSessionError,
    VanishedError,
    classify,
    is_about_standby,
    is_about_types,
    is_known_rollback,
    leaves_session_fit,
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
        ("25006", Fault.READ_ONLY),
        ("08006", Fault.LOST),
        ("08P01", Fault.LOST),
        ("53100", Fault.CAPACITY),
        ("53200", Fault.CAPACITY),
        ("53300", Fault.RETRY),
        ("42P01", Fault.BUG),
        ("42501", Fault.REFUSED),
        ("ZF001", Fault.REFUSED),
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
        (MissingRowsError("events"), Fault.REFUSED),
        (UnconfirmedCommitError(), Fault.UNCONFIRMED),
        (UnsafeSessionError("fsync"), Fault.REFUSED),
        (UnsafeSessionError("transaction_read_only"), Fault.READ_ONLY),
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


@pytest.mark.parametrize(
    ("error", "is_known"),
    [
        (server_error("42P01", V="ERROR"), True),
        (server_error("25006", V="ERROR"), True),
        (server_error("XX000", V="ERROR"), True),
        (server_error("57P01", V="FATAL"), False),
        (server_error("XX000", V="PANIC"), False),
        (asyncpg.ConnectionDoesNotExistError("lost"), False),
        (ConnectionResetError(), False),
        (UnconfirmedCommitError(), False),
        (SilentRollbackError("ROLLBACK"), True),
        (TypeError("a bug"), False),
    ],
)
def test_an_error_that_does_not_end_the_session_is_a_known_rollback(
    error: BaseException, *, is_known: bool
) -> None:
    assert is_known is is_known_rollback(error)


@pytest.mark.parametrize(
    ("error", "is_fit"),
    [
        (server_error("53100"), True),
        (server_error("22P02"), True),
        (server_error("23514"), False),  # no partition
        (server_error("25006"), False),
        (server_error("57P01"), False),
        (StaleSessionError(), False),
        (UnconfirmedCommitError(), True),
        (MissingRowsError("events"), True),
        (UnsafeSessionError("fsync"), True),
        (UnsafeSessionError("synchronous_commit"), False),
        (UnsafeSessionError("transaction_read_only"), False),
        (ConnectionResetError(), False),
        (ValueError("own"), False),
    ],
)
def test_a_session_that_may_fail_again_is_replaced(error: BaseException, *, is_fit: bool) -> None:
    assert is_fit is leaves_session_fit(error)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"M": "storniere Warten auf synchrone Replikation", "R": "SyncRepWaitForLSN"}, True),
        ({"C": "57P01", "R": "SyncRepWaitForLSN"}, True),
        ({"M": "canceling wait for synchronous replication", "R": "exec_stmt_raise"}, False),
        ({"M": "canceling wait for synchronous replication"}, False),
    ],
)
def test_a_notice_about_the_standby_is_told_by_its_function_and_no_text(
    fields: dict[str, str], *, expected: bool
) -> None:
    message: Any = asyncpg.PostgresLogMessage.new({"S": "WARNUNG", "C": "01000", **fields})

    assert expected is is_about_standby(message)
