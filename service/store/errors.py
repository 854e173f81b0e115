"""What an error of PostgreSQL, or of the connection to it, means: failure class, cause, message."""

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple

import asyncpg

# --- errors of the store -------------------------------------------------------------------------


class SilentRollbackError(Exception):
    """PostgreSQL answered COMMIT with ROLLBACK: an earlier error was missed. Nothing is stored."""


class StaleSessionError(Exception):
    """The session knows row types of an older schema; it has to be replaced."""


class NoPartitionError(Exception):
    """Events of today cannot be stored; the message says why and what to do."""


class UnconfirmedCommitError(Exception):
    """A commit did not wait for its synchronous standby, so the standby may lack the rows."""


class MissingRowsError(Exception):
    """A table stored fewer rows than were written to it: a trigger skips some."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} did not store all rows")
        self.table = table


class VanishedError(MissingRowsError):
    """
    A ledger row was neither inserted nor found: it was deleted meanwhile, or a trigger skipped it.

    Another attempt tells which: a row that a trigger skips is missing each time.
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


# --- failure classes: what to do about a failed attempt ------------------------------------------


class FailureClass(enum.StrEnum):
    """Classes of failed attempts, each with its own remedy. Values are labels of a metric."""

    DATA = "data"
    """PostgreSQL rejects the data of one row. Isolate that row; the others can be stored."""
    RETRY = "retry"
    """Nothing was stored, and a retry may succeed: a deadlock, a statement timeout."""
    HELD = "held"
    """Another session holds a row lock for longer than the lock timeout. Nothing was stored."""
    PARTITION = "partition"
    """A day has no partition. Make it and retry."""
    LOST = "lost"
    """The connection was lost. After COMMIT was sent, the outcome is unknown."""
    UNCONFIRMED = "unconfirmed"
    """Committed on the primary, but not confirmed by the synchronous standby: outcome unknown."""
    READ_ONLY = "read_only"
    """The server is read-only. Nothing was stored; a new session may reach a writable server."""
    REFUSED = "refused"
    """Nothing is stored until an operator changes a right, a setting or a trigger."""
    CAPACITY = "capacity"
    """The server has no disk space or memory left. More statements would make it worse."""
    BUG = "bug"
    """An error in Forebay or in the schema, never of the sender."""


# Raised by refuse_missing_rows() in the database; the error names the table.
ROWS_MISSING: Final = "ZF001"

_BY_SQLSTATE: Final = {
    # 53300: no connection could be opened; a connection of this worker may be free soon.
    **dict.fromkeys(("40001", "40P01", "57014", "53300"), FailureClass.RETRY),
    **dict.fromkeys(("55P03",), FailureClass.HELD),
    **dict.fromkeys(("57P01", "57P02", "57P03", "57P05", "25P03", "25P04"), FailureClass.LOST),
    **dict.fromkeys(("25006",), FailureClass.READ_ONLY),
    **dict.fromkeys(("42501", ROWS_MISSING), FailureClass.REFUSED),
    **dict.fromkeys(("53000", "53100", "53200", "53400"), FailureClass.CAPACITY),
    **dict.fromkeys(("21000", "23502", "23514", "54000", "54001"), FailureClass.DATA),
}
_BY_SQLSTATE_CLASS: Final = {"08": FailureClass.LOST, "22": FailureClass.DATA}
# Subclasses before their base classes.
_BY_TYPE: Final = (
    ((SilentRollbackError, VanishedError, StaleSessionError), FailureClass.RETRY),
    ((NoPartitionError,), FailureClass.PARTITION),
    ((MissingRowsError,), FailureClass.REFUSED),
    ((UnconfirmedCommitError,), FailureClass.UNCONFIRMED),
    ((OverflowError, UnicodeEncodeError), FailureClass.DATA),
    # asyncpg raises InternalClientError for a connection cut between two statements.
    (
        (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError),
        FailureClass.LOST,
    ),
)
_CHECK_VIOLATION: Final = "23514"
_CONNECTION_CLASS: Final = "08"
_STANDBY_WAIT: Final = "SyncRepWaitForLSN"
# Undefined object, and an internal error about an OID that does not exist.
_UNKNOWN_TYPE: Final = frozenset({"42704", "XX000"})
# Settings that are the same in every session.
_SERVER_WIDE: Final = frozenset({"fsync", "full_page_writes"})


def classify(error: BaseException) -> FailureClass:
    """Return the class of *error*. An unknown error is a bug: it is never blamed on a sender."""
    if isinstance(error, asyncpg.PostgresError):
        return _classify_sqlstate(error)
    if isinstance(error, UnsafeSessionError):
        return FailureClass.READ_ONLY if error.is_read_only else FailureClass.REFUSED
    # asyncpg could not encode a value for its column.
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return FailureClass.DATA
    for types, failure in _BY_TYPE:
        if isinstance(error, types):
            return failure
    return FailureClass.BUG


def _classify_sqlstate(error: asyncpg.PostgresError) -> FailureClass:
    sqlstate = error.sqlstate or ""
    # The error for a missing partition is a check violation without the name of a constraint.
    if sqlstate == _CHECK_VIOLATION and not error.constraint_name:
        return FailureClass.PARTITION
    by_class = _BY_SQLSTATE_CLASS.get(sqlstate[:2], FailureClass.BUG)
    return _BY_SQLSTATE.get(sqlstate, by_class)


def is_known_rollback(error: BaseException) -> bool:
    """Whether *error*, raised by a commit, says that nothing of the transaction was stored."""
    if isinstance(error, asyncpg.PostgresError) and error.severity_en:
        return bool(error.severity_en == "ERROR")  # FATAL and PANIC end the session
    unknown = {FailureClass.LOST, FailureClass.UNCONFIRMED, FailureClass.BUG}
    return classify(error) not in unknown


def is_session_usable(error: BaseException) -> bool:
    """Whether the session that raised *error* can be used again; otherwise it is replaced."""
    if isinstance(error, UnconfirmedCommitError | MissingRowsError):
        return True
    if isinstance(error, UnsafeSessionError):
        return error.setting in _SERVER_WIDE
    # PARTITION: some sessions never find a partition that another session has attached.
    # READ_ONLY: a new connection may reach the new primary.
    unusable = {FailureClass.LOST, FailureClass.PARTITION, FailureClass.READ_ONLY}
    return isinstance(error, asyncpg.PostgresError) and classify(error) not in unusable


def is_about_standby(message: asyncpg.PostgresLogMessage) -> bool:
    """
    Whether *message* says that a commit succeeded without its synchronous standby.

    The text of the message is translated, and its SQLSTATE is that of any WARNING. The server
    function that raises it has the same name in every version and language.
    """
    return bool(message.server_source_function == _STANDBY_WAIT)


def is_about_row_type(error: asyncpg.PostgresError) -> bool:
    """
    Whether *error*, of a statement with one array of rows as its value, is about the array's type.

    The type has another OID when the schema was replaced while the session was open, for example
    from a backup. An error without a severity comes from asyncpg, which does not know the OID; an
    error about a lost connection has no severity either.
    """
    if (error.sqlstate or "").startswith(_CONNECTION_CLASS):
        return False
    return error.severity is None or error.sqlstate in _UNKNOWN_TYPE


def describe(error: BaseException) -> str:
    """Name *error* without its text, which may quote an event."""
    state = getattr(error, "sqlstate", None)
    constraint = getattr(error, "constraint_name", None)
    table = getattr(error, "table", None) or getattr(error, "table_name", None)
    parts = (type(error).__name__, state, constraint, table, getattr(error, "setting", None))
    return " ".join(str(part) for part in parts if part)


# --- causes: what to tell senders and operators --------------------------------------------------


class Cause(enum.StrEnum):
    """Why this worker cannot store events. Used in answers, health reports, metrics and logs."""

    AWAY = "away"
    FULL = "full"
    NO_CONNECTION = "no_connection"
    READ_ONLY = "read_only"
    NO_PARTITION = "no_partition"
    NOT_PERMITTED = "not_permitted"
    UNSAFE_SETTING = "unsafe_setting"
    LOCKED = "locked"
    ROWS_MISSING = "rows_missing"
    STANDBY = "standby"
    BUSY = "busy"
    OTHER = "other"


class Trouble(NamedTuple):
    """A cause, and the setting or the table concerned, if any."""

    cause: Cause
    subject: str = ""

    @property
    def message(self) -> str:
        """The cause in one sentence."""
        return _SENTENCES[self.cause].format(self.subject or "unknown")


_SENTENCES: Final = {
    Cause.AWAY: "PostgreSQL cannot be reached or does not answer in time.",
    Cause.FULL: "PostgreSQL has no disk space or memory left.",
    Cause.NO_CONNECTION: "PostgreSQL has no free connection.",
    Cause.READ_ONLY: "PostgreSQL is read-only.",
    Cause.NO_PARTITION: "There is no partition for today.",
    Cause.NOT_PERMITTED: "The database role lacks a privilege.",
    Cause.UNSAFE_SETTING: "PostgreSQL runs with an unsafe setting: {}.",
    Cause.LOCKED: "Another session holds a lock.",
    Cause.ROWS_MISSING: "The table {} did not store all rows: look for a trigger that skips rows.",
    Cause.STANDBY: "The synchronous standby did not confirm.",
    Cause.BUSY: "PostgreSQL cancelled the transaction in every attempt.",
    Cause.OTHER: "PostgreSQL refused to store the events; the log of the service names the error.",
}
_CAUSE_BY_FAILURE: Final = {
    FailureClass.RETRY: Cause.BUSY,
    FailureClass.HELD: Cause.LOCKED,
    FailureClass.PARTITION: Cause.NO_PARTITION,
    FailureClass.LOST: Cause.AWAY,
    FailureClass.UNCONFIRMED: Cause.STANDBY,
    FailureClass.READ_ONLY: Cause.READ_ONLY,
    FailureClass.CAPACITY: Cause.FULL,
}
_CAUSE_BY_SQLSTATE: Final = {
    "42501": Cause.NOT_PERMITTED,
    "53300": Cause.NO_CONNECTION,
    ROWS_MISSING: Cause.ROWS_MISSING,
}


def trouble_of(error: BaseException) -> Trouble:
    """Return the cause of *error*."""
    if isinstance(error, StaleSessionError):
        return Trouble(Cause.OTHER)
    if isinstance(error, MissingRowsError):
        return Trouble(Cause.ROWS_MISSING, error.table)
    if isinstance(error, UnsafeSessionError) and not error.is_read_only:
        return Trouble(Cause.UNSAFE_SETTING, error.setting)
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _CAUSE_BY_SQLSTATE:
        return Trouble(_CAUSE_BY_SQLSTATE[error.sqlstate], error.table_name or "")
    return Trouble(_CAUSE_BY_FAILURE.get(classify(error), Cause.OTHER))


# --- errors of connecting: what to tell the operator at the start --------------------------------

# Startup parameters that PgBouncer passes on by itself.
_PASSED_ON: Final = frozenset({"application_name", "timezone"})
# PgBouncer has to ignore this one too. Forebay refuses a URL with `options` later, and says why.
_REFUSED_LATER: Final = "options"
_UNSUPPORTED: Final = "unsupported startup parameter"


def is_about_url(error: Exception) -> bool:
    """Whether the URL or the pooler has to be changed: a retry cannot help."""
    if isinstance(error, asyncpg.PostgresError) and _UNSUPPORTED in str(error):
        return True
    return isinstance(
        error, ValueError | asyncpg.UndefinedObjectError | asyncpg.InvalidParameterValueError
    )


def connect_reason(error: Exception, sent: Iterable[str] = ()) -> str:
    """Return what *error* means, for a message; *sent* are the startup parameters."""
    text = str(error).partition("\n")[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncpg.PostgresError) and _UNSUPPORTED in text:
        names = ", ".join([*(name for name in sent if name not in _PASSED_ON), _REFUSED_LATER])
        return (
            "the pooler refuses startup parameters; PgBouncer needs"
            f" ignore_startup_parameters = {names}"
        )
    if isinstance(error, asyncpg.UndefinedObjectError | asyncpg.InvalidParameterValueError):
        return f"{text}; change or remove this parameter of DATABASE_URL"
    return text or type(error).__name__
