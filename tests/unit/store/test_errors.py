"""
Errors of PostgreSQL and of connections: their failure class, and the reason a command prints.

If these tests fail: a sender gets 503 for events that a retry would have stored, or a rejection of
valid events because of an error of the server.
"""

from typing import Any

import asyncpg
import pytest

from service.store.errors import (
    FailureClass,
    MissingRowsError,
    SilentRollbackError,
    StaleSessionError,
    UnconfirmedCommitError,
    UnsafeSessionError,
    VanishedError,
    classify,
    connect_reason,
    is_about_row_type,
    is_about_standby,
    is_about_url,
    is_known_rollback,
    is_session_usable,
)

SENT = ["application_name", "lock_timeout", "timezone", "search_path"]
CHANGE = "; change or remove this parameter of DATABASE_URL"
REFUSED = "the pooler refuses startup parameters; PgBouncer needs "


class UnencodableError(asyncpg.InterfaceError, ValueError):
    """Like the error of asyncpg for a value that it cannot encode."""


def server_error(state: str, **fields: str) -> asyncpg.PostgresError:
    """Return the error that asyncpg raises for an SQLSTATE."""
    codes = {"C": state, "M": "it failed", "S": "ERROR"} | fields
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(codes)
    return error


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("22P05", FailureClass.DATA),  # \u0000 in a jsonb
        ("22021", FailureClass.DATA),
        ("22001", FailureClass.DATA),
        ("22P02", FailureClass.DATA),
        ("23502", FailureClass.DATA),
        ("54000", FailureClass.DATA),
        ("21000", FailureClass.DATA),
        ("40P01", FailureClass.RETRY),
        ("40001", FailureClass.RETRY),
        ("55P03", FailureClass.HELD),
        ("57014", FailureClass.RETRY),
        ("57P01", FailureClass.LOST),
        ("57P02", FailureClass.LOST),
        ("57P03", FailureClass.LOST),
        ("57P05", FailureClass.LOST),
        ("25P03", FailureClass.LOST),
        ("25006", FailureClass.READ_ONLY),
        ("08006", FailureClass.LOST),
        ("08P01", FailureClass.LOST),
        ("53100", FailureClass.CAPACITY),
        ("53200", FailureClass.CAPACITY),
        ("53300", FailureClass.RETRY),
        ("42P01", FailureClass.BUG),
        ("42501", FailureClass.REFUSED),
        ("ZF001", FailureClass.REFUSED),
        ("23505", FailureClass.BUG),
        ("XX000", FailureClass.BUG),
    ],
)
def test_each_sqlstate_has_its_class(state: str, expected: FailureClass) -> None:
    assert classify(server_error(state)) is expected


def test_a_check_violation_without_a_constraint_is_a_missing_partition() -> None:
    assert classify(server_error("23514")) is FailureClass.PARTITION


def test_a_check_violation_with_a_constraint_is_about_the_data() -> None:
    assert classify(server_error("23514", n="events_is_valid")) is FailureClass.DATA


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SilentRollbackError("ROLLBACK"), FailureClass.RETRY),
        (VanishedError(), FailureClass.RETRY),
        (StaleSessionError(), FailureClass.RETRY),
        (MissingRowsError("events"), FailureClass.REFUSED),
        (UnconfirmedCommitError(), FailureClass.UNCONFIRMED),
        (UnsafeSessionError("fsync"), FailureClass.REFUSED),
        (UnsafeSessionError("transaction_read_only"), FailureClass.READ_ONLY),
        (ConnectionResetError(), FailureClass.LOST),
        (TimeoutError(), FailureClass.LOST),
        (asyncpg.InterfaceError("connection is closed"), FailureClass.LOST),
        (asyncpg.InternalClientError("not connected"), FailureClass.LOST),
        (UnencodableError("value out of range"), FailureClass.DATA),
        (OverflowError("int too large"), FailureClass.DATA),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), FailureClass.DATA),
        (TypeError("a bug"), FailureClass.BUG),
        (KeyError("a bug"), FailureClass.BUG),
        (MemoryError(), FailureClass.BUG),
    ],
)
def test_each_error_of_the_client_has_its_class(
    error: BaseException, expected: FailureClass
) -> None:
    assert classify(error) is expected


def test_a_lost_connection_is_not_about_the_row_type() -> None:
    lost = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    assert lost.severity is None
    assert not is_about_row_type(lost)
    assert FailureClass.LOST is classify(lost)


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
    ("error", "is_usable"),
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
def test_a_session_that_may_fail_again_is_not_usable(
    error: BaseException, *, is_usable: bool
) -> None:
    assert is_usable is is_session_usable(error)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"M": "storniere Warten auf synchrone Replikation", "R": "SyncRepWaitForLSN"}, True),
        ({"C": "57P01", "R": "SyncRepWaitForLSN"}, True),
        ({"M": "canceling wait for synchronous replication", "R": "exec_stmt_raise"}, False),
        ({"M": "canceling wait for synchronous replication"}, False),
    ],
)
def test_a_message_about_the_standby_is_found_by_the_server_function_not_by_its_text(
    fields: dict[str, str], *, expected: bool
) -> None:
    message: Any = asyncpg.PostgresLogMessage.new({"S": "WARNUNG", "C": "01000", **fields})

    assert expected is is_about_standby(message)


@pytest.mark.parametrize(
    ("error", "expected", "is_url"),
    [
        (TimeoutError(), "no answer in time", False),
        (ConnectionResetError(), "ConnectionResetError", False),
        (OSError("away\nfor now"), "away", False),
        (asyncpg.InvalidPasswordError("no such user"), "no such user", False),
        (
            asyncpg.UndefinedObjectError('unrecognized configuration parameter "x"'),
            'unrecognized configuration parameter "x"' + CHANGE,
            True,
        ),
        (
            asyncpg.ProtocolViolationError("unsupported startup parameter: lock_timeout"),
            REFUSED + "ignore_startup_parameters = lock_timeout, search_path, options",
            True,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_connect_error_is_one_line_and_tells_whether_to_change_the_url(
    error: Exception, expected: str, *, is_url: bool
) -> None:
    assert (expected, is_url) == (connect_reason(error, SENT), is_about_url(error))
