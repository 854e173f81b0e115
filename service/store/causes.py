"""Why events cannot be stored: a closed set, used in answers, health reports, metrics and logs."""

import enum
from typing import Final, NamedTuple

import asyncpg

from service.store.faults import (
    ROWS_MISSING,
    Fault,
    MissingRowsError,
    StaleSessionError,
    UnsafeSessionError,
    classify,
)


class Cause(enum.StrEnum):
    """Why this worker cannot store events."""

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
    Cause.AWAY: "PostgreSQL is away or does not answer in time.",
    Cause.FULL: "PostgreSQL has no disk space or memory left.",
    Cause.NO_CONNECTION: "PostgreSQL has no free connection.",
    Cause.READ_ONLY: "PostgreSQL is read-only.",
    Cause.NO_PARTITION: "There is no partition for today.",
    Cause.NOT_PERMITTED: "The database role lacks a privilege.",
    Cause.UNSAFE_SETTING: "PostgreSQL runs with an unsafe setting: {}.",
    Cause.LOCKED: "Another session holds a lock.",
    Cause.ROWS_MISSING: "The table {} did not store all rows: look for a trigger that skips rows.",
    Cause.STANDBY: "The synchronous standby did not confirm.",
    Cause.BUSY: "PostgreSQL cancelled the transaction again and again.",
    Cause.OTHER: "PostgreSQL refused to store the events; the log of the service names the error.",
}
_BY_FAULT: Final = {
    Fault.RETRY: Cause.BUSY,
    Fault.HELD: Cause.LOCKED,
    Fault.PARTITION: Cause.NO_PARTITION,
    Fault.LOST: Cause.AWAY,
    Fault.UNCONFIRMED: Cause.STANDBY,
    Fault.READ_ONLY: Cause.READ_ONLY,
    Fault.CAPACITY: Cause.FULL,
}
_BY_STATE: Final = {
    "42501": Cause.NOT_PERMITTED,
    "53300": Cause.NO_CONNECTION,
    ROWS_MISSING: Cause.ROWS_MISSING,
}


def trouble_of(error: BaseException) -> Trouble:
    """Return the cause class of *error*."""
    if isinstance(error, StaleSessionError):
        return Trouble(Cause.OTHER)
    if isinstance(error, MissingRowsError):
        return Trouble(Cause.ROWS_MISSING, error.table)
    if isinstance(error, UnsafeSessionError) and not error.is_read_only:
        return Trouble(Cause.UNSAFE_SETTING, error.setting)
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _BY_STATE:
        return Trouble(_BY_STATE[error.sqlstate], error.table_name or "")
    return Trouble(_BY_FAULT.get(classify(error), Cause.OTHER))
