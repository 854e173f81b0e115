"""What an error of PostgreSQL, or of the way to it, means for a flush. Sorted in this one place."""

import enum
from typing import Final

import asyncpg


class Fault(enum.StrEnum):
    """Classes of failure; each has one cure."""

    DATA = "data"
    """One row cannot be stored: isolate it. The others are fine."""
    RETRY = "retry"
    """Nothing was stored, and the same again may work: deadlock, statement timeout."""
    HELD = "held"
    """Another session holds a row for longer than the lock timeout. Nothing was stored."""
    PARTITION = "partition"
    """There is no partition for a day: make it and go again."""
    LOST = "lost"
    """The connection went away. Around COMMIT that means: outcome unknown."""
    CAPACITY = "capacity"
    """The server is full. More statements would make it worse."""
    BUG = "bug"
    """Ours or the schema's. Never the sender's."""


class SilentRollbackError(Exception):
    """COMMIT was answered with ROLLBACK: an earlier error went unnoticed, and nothing is stored."""


class VanishedError(Exception):
    """A ledger row was there and gone again between two statements; the flush has to run again."""


class StaleSessionError(Exception):
    """The session does not know the row types of the schema as it is now; it has to be replaced."""


class NoPartitionError(Exception):
    """Events of today cannot be stored; the message says why and what to do."""


class UnsafeSessionError(Exception):
    """The server would not keep what it acknowledges; the message names the setting."""


_BY_STATE: Final = {
    **dict.fromkeys(("40001", "40P01", "57014"), Fault.RETRY),
    **dict.fromkeys(("55P03",), Fault.HELD),
    **dict.fromkeys(("57P01", "57P02", "57P03", "57P05", "25006", "25P03"), Fault.LOST),
    **dict.fromkeys(("53000", "53100", "53200", "53300", "53400"), Fault.CAPACITY),
}
# No such type; what its number was looked up for is not there.
_ABOUT_TYPES: Final = frozenset({"42704", "XX000"})
_CONNECTION_CLASS: Final = "08"
_DATA: Final = frozenset({"21000", "23502", "23514", "54000", "54001"})
_DATA_CLASS: Final = "22"
_CHECK_VIOLATION: Final = "23514"


def classify(error: BaseException) -> Fault:
    """Return the class of *error*. What is not known is a bug: it is never blamed on a sender."""
    if isinstance(error, asyncpg.PostgresError):
        return _classify_sqlstate(error)
    if isinstance(error, SilentRollbackError | VanishedError | StaleSessionError):
        return Fault.RETRY
    if isinstance(error, NoPartitionError | UnsafeSessionError):
        return Fault.PARTITION if isinstance(error, NoPartitionError) else Fault.CAPACITY
    if _is_encoding_error(error):
        return Fault.DATA
    # InternalClientError is what asyncpg says of a line that was cut between two statements.
    if isinstance(
        error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError
    ):
        return Fault.LOST
    return Fault.BUG


def is_about_types(error: asyncpg.PostgresError) -> bool:
    """
    Whether *error*, of a statement whose one value the core wrote, is about that value's type.

    Another schema was put in place under the session, a backup say: the type has another number
    now. No severity: the server has not seen the value, asyncpg did not know how to send it; but a
    lost connection has none either.
    """
    if (error.sqlstate or "").startswith(_CONNECTION_CLASS):
        return False
    return error.severity is None or error.sqlstate in _ABOUT_TYPES


def _is_encoding_error(error: BaseException) -> bool:
    # asyncpg could not put a value into its column: an InterfaceError that is a ValueError.
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)
    return isinstance(error, OverflowError | UnicodeEncodeError)


def _classify_sqlstate(error: asyncpg.PostgresError) -> Fault:
    state = error.sqlstate or ""
    if state == _CHECK_VIOLATION and not error.constraint_name:
        return Fault.PARTITION
    if state in _DATA or state.startswith(_DATA_CLASS):
        return Fault.DATA
    if state.startswith(_CONNECTION_CLASS):
        return Fault.LOST
    return _BY_STATE.get(state, Fault.BUG)
