"""The ways to write one flush: the service's own two, and those that they were chosen over."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from bench.write_path import former
from service._native import event_columns
from service.store.flush import Flush
from service.store.transaction import Transaction
from tests.doubles import always

Connection = Any
Write = Callable[[Connection, Flush], Callable[[], Awaitable[Any]]]
"""Make ready what the service would have in hand by then; return what is to be measured."""

_LATE_IDS: Final = "SELECT id FROM given WHERE id NOT IN (SELECT id FROM new)"
_NEW_IDS: Final = "SELECT id FROM new"
_COLUMNS: Final = ", ".join(f'"{name}"' for name in event_columns())


class AtOnce(Transaction):
    """One statement however many rows there are."""

    @property
    def _is_for_one_statement(self) -> bool:
        return True


class InSteps(Transaction):
    """Ledger, COPY and COMMIT however few rows there are."""

    @property
    def _is_for_one_statement(self) -> bool:
        return False


class Returning:
    """Has the ids returned that are new, not those that are late."""

    async def _insert(self, insert: str, rows: bytes) -> list[int]:
        query = insert.replace(_LATE_IDS, _NEW_IDS)
        assert query != insert
        flush: Flush = self._flush  # type: ignore[attr-defined]
        new = {row[0] for row in await self.session.fetch(query, rows)}  # type: ignore[attr-defined]
        return [row_id for part in flush.events for row_id in part.ids if row_id not in new]


class AtOnceReturning(Returning, AtOnce):
    """The one statement so."""


class InStepsReturning(Returning, InSteps):
    """The transaction so."""


class InStepsPreparing(InSteps):
    """Has the server describe the columns at each COPY, as a driver may that encodes the rows."""

    async def _write(self) -> Any:
        await self.session.prepare(f"SELECT {_COLUMNS} FROM events LIMIT 1")  # noqa: S608
        return await super()._write()


def _by(kind: type[Transaction]) -> Write:
    return lambda connection, flush: kind(connection, flush, always(True)).run


def _by_arrays(connection: Connection, flush: Flush) -> Callable[[], Awaitable[Any]]:
    rows = former.rows_of(flush)
    return lambda: former.insert_at_once(connection, rows)


def _by_records(connection: Connection, flush: Flush) -> Callable[[], Awaitable[Any]]:
    rows = former.rows_of(flush)
    return lambda: former.copy_records(connection, rows)


AT_ONCE: Final = "one statement"
IN_STEPS: Final = "COPY"
AT_ONCE_RETURNING: Final = "one statement, RETURNING"
IN_STEPS_RETURNING: Final = "COPY, RETURNING"
PREPARING: Final = "COPY, prepared each time"
ARRAYS: Final = "24 arrays"
RECORDS: Final = "COPY of tuples"

WRITERS: Final[dict[str, Write]] = {
    AT_ONCE: _by(AtOnce),
    IN_STEPS: _by(InSteps),
    AT_ONCE_RETURNING: _by(AtOnceReturning),
    IN_STEPS_RETURNING: _by(InStepsReturning),
    PREPARING: _by(InStepsPreparing),
    ARRAYS: _by_arrays,
    RECORDS: _by_records,
}
