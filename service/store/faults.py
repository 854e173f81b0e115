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
    UNCONFIRMED = "unconfirmed"
    """Committed here, but the wait for a synchronous standby was cancelled: outcome unknown."""
    READ_ONLY = "read_only"
    """The server is read-only. Nothing was stored; a new session may reach a writable server."""
    REFUSED = "refused"
    """Nothing is stored until an operator changes a right, a setting or a trigger."""
    CAPACITY = "capacity"
    """The server is full. More statements would make it worse."""
    BUG = "bug"
    """A fault of Forebay or of the schema, never of the sender."""


class SilentRollbackError(Exception):
    """COMMIT was answered with ROLLBACK: an earlier error went unnoticed, and nothing is stored."""


class StaleSessionError(Exception):
    """The session does not know the row types of the schema as it is now; it has to be replaced."""


class NoPartitionError(Exception):
    """Events of today cannot be stored; the message says why and what to do."""


class UnconfirmedCommitError(Exception):
    """The wait of a COMMIT for a synchronous standby was cancelled: the standby may lack it."""


class MissingRowsError(Exception):
    """A table reported fewer rows stored than were written to it: a trigger skips some."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} did not store all rows")
        self.table = table


class VanishedError(MissingRowsError):
    """
    A ledger row is neither new nor found: deleted between two statements, or never inserted.

    The flush has to run again; a row that a trigger skips is missing each time.
    """

    def __init__(self) -> None:
        super().__init__("event_deduplication")


class UnsafeSessionError(Exception):
    """No event must be stored over this session; `setting` names the reason."""

    def __init__(self, setting: str, message: str = "") -> None:
        super().__init__(message or f"unsafe setting {setting}")
        self.setting = setting

    @property
    def is_read_only(self) -> bool:
        """Whether the only reason is that the server is read-only."""
        return self.setting == "transaction_read_only"


# Raised by refuse_missing_rows() in the database; the error names the table.
ROWS_MISSING: Final = "ZF001"

_BY_STATE: Final = {
    # 53300: no connection could be opened; a connection of this worker may be free soon.
    **dict.fromkeys(("40001", "40P01", "57014", "53300"), Fault.RETRY),
    **dict.fromkeys(("55P03",), Fault.HELD),
    **dict.fromkeys(("57P01", "57P02", "57P03", "57P05", "25P03", "25P04"), Fault.LOST),
    **dict.fromkeys(("25006",), Fault.READ_ONLY),
    **dict.fromkeys(("42501", ROWS_MISSING), Fault.REFUSED),
    **dict.fromkeys(("53000", "53100", "53200", "53400"), Fault.CAPACITY),
}
_BY_KIND: Final = (
    ((SilentRollbackError, VanishedError, StaleSessionError), Fault.RETRY),
    (NoPartitionError, Fault.PARTITION),
    (MissingRowsError, Fault.REFUSED),
    (UnconfirmedCommitError, Fault.UNCONFIRMED),
)
# Settings that are the same in every session.
_OF_THE_SERVER: Final = frozenset({"fsync", "full_page_writes"})
_STANDBY_WAIT: Final = "SyncRepWaitForLSN"
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
    for kinds, fault in _BY_KIND:
        if isinstance(error, kinds):
            return fault
    if isinstance(error, UnsafeSessionError):
        return Fault.READ_ONLY if error.is_read_only else Fault.REFUSED
    if _is_encoding_error(error):
        return Fault.DATA
    # InternalClientError is what asyncpg says of a line that was cut between two statements.
    if isinstance(
        error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError
    ):
        return Fault.LOST
    return Fault.BUG


def is_known_rollback(error: BaseException) -> bool:
    """Whether *error*, raised by a commit, says that nothing of the transaction was stored."""
    if isinstance(error, asyncpg.PostgresError) and error.severity_en:
        return bool(error.severity_en == "ERROR")  # FATAL and PANIC end the session
    return classify(error) not in {Fault.LOST, Fault.UNCONFIRMED, Fault.BUG}


def leaves_session_fit(error: BaseException) -> bool:
    """Whether the session that raised *error* can be used again, or has to be replaced."""
    if isinstance(error, UnconfirmedCommitError | MissingRowsError):
        return True
    if isinstance(error, UnsafeSessionError):
        return error.setting in _OF_THE_SERVER
    # PARTITION: some sessions never find a partition that another session has attached.
    # READ_ONLY: a new connection may reach the new primary.
    unfit = {Fault.LOST, Fault.PARTITION, Fault.READ_ONLY}
    return isinstance(error, asyncpg.PostgresError) and classify(error) not in unfit


def is_about_standby(message: asyncpg.PostgresLogMessage) -> bool:
    """
    Whether *message* says that a commit succeeded without its synchronous standby.

    The text of the message is translated, and its SQLSTATE is that of any WARNING; the function of
    the server that raises it has the same name in every version and language.
    """
    return bool(message.server_source_function == _STANDBY_WAIT)


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
