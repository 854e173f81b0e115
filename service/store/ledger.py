"""Writes one flush as one transaction: ledger rows, event rows and quarantine rows."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from service._native import Plan, Row, Rows, event_columns
from service.clock import moment
from service.model import RejectedRow, Verdict
from service.store.errors import (
    MissingRowsError,
    SilentRollbackError,
    StaleSessionError,
    UnconfirmedCommitError,
    VanishedError,
    is_about_row_type,
    is_known_rollback,
)
from service.store.sql import statement

_EVENT_COLUMNS: Final = event_columns()

# Up to this number of rows one statement is cheaper, above it COPY: decision 0007.
SINGLE_STATEMENT_ROWS_MAX: Final = 160

Key = tuple[int, bytes]
"""(tenant_id, event_key): the primary key of the ledger."""

EventPrimaryKey = tuple[int, datetime, int]
"""(tenant_id, received_at, id): the primary key of `events`. Two workers may use the same id."""

Verdicts = dict[int, Verdict]
"""Verdicts by row id, of the rows whose outcome is not simply `accepted`."""


class LedgerEntry(NamedTuple):
    """What the ledger holds for a key: the stored event with that id."""

    id: int
    payload_hash: int
    received_at: datetime


class Judgement(NamedTuple):
    """The outcomes of rows that were not inserted, and the rows to put into quarantine."""

    verdicts: Verdicts
    quarantined: list[RejectedRow]


Judge = Callable[["LedgerTransaction", list[Row]], Awaitable[Judgement]]
"""Decides the outcomes of rows that were not inserted; asks the transaction what is stored."""


class Flush(msgspec.Struct, frozen=True):
    """The rows of one transaction. `plan` has the order that all writers use."""

    events: list[Rows]
    rejected: list[RejectedRow]
    plan: Plan
    judge: Judge

    @property
    def days(self) -> set[date]:
        """The days (UTC) whose partitions the flush needs."""
        arrivals = [moment(rows.received_at_us) for rows in self.events]
        return {arrival.date() for arrival in arrivals + [row.received_at for row in self.rejected]}


class AttemptState:
    """Whether a flush may be stored, and over which connection, as far as its attempts tell."""

    def __init__(self) -> None:
        self.is_nothing_stored = True
        """False: a part of the flush, or all of it, is stored or may be."""
        self.connection: Any = None
        """The connection over which the last attempt has written."""
        self.is_lock_held = False
        """Whether the last attempt has waited in vain for a lock of another session."""
        self._is_commit_sent = False
        self._is_committed = False

    def begin(self) -> None:
        """Begin another attempt."""
        self.connection = None
        self._is_commit_sent = self._is_committed = False

    def commit_sent(self) -> None:
        """Note that COMMIT, or a statement that commits itself, goes to the server next."""
        self._is_commit_sent = True

    def committed(self) -> None:
        """Note that rows are stored, however the attempt ends."""
        self._is_committed = True

    def fail(self, error: Exception) -> None:
        """Note that the attempt ended with *error*."""
        if self._is_commit_sent and (self._is_committed or not is_known_rollback(error)):
            self.is_nothing_stored = False


class LedgerTransaction:
    """Writes one flush over one connection, once."""

    def __init__(
        self,
        connection: Any,
        flush: Flush,
        state: AttemptState,
        *,
        short_lock_timeout: bool = False,
    ) -> None:
        """*short_lock_timeout*: wait 100 ms for a row lock, not the timeout of the connection."""
        self._connection = connection
        self._flush = flush
        self._state = state
        self._short_lock_timeout = short_lock_timeout

    async def run(self) -> Verdicts:
        """
        Store the flush; return the verdicts of rows that were not inserted, after the commit.

        Raises errors of asyncpg or of service.store.errors. After an error of the server the
        transaction is rolled back. `state` knows whether it may have been committed.
        """
        self._connection.is_unconfirmed = False
        has_few_rows = len(self._flush.plan) <= SINGLE_STATEMENT_ROWS_MAX
        # The deadline may cut off an attempt that waits for a lock. Before COMMIT is sent, it is
        # known that nothing is stored; of a statement that commits itself it is not.
        is_commit_separate = self._short_lock_timeout or self._state.is_lock_held
        if has_few_rows and not self._flush.rejected and not is_commit_separate:
            verdicts = await self.run_single_statement()
        else:
            verdicts = await self.run_copy()
        # Applies to every commit, including one that wrote nothing and only waited for the standby.
        if self._connection.is_unconfirmed:
            raise UnconfirmedCommitError
        return verdicts

    async def run_single_statement(self) -> Verdicts:
        """Store few rows by one statement that commits itself: one round trip instead of five."""
        self._state.commit_sent()
        plan, types = self._flush.plan, self._connection.row_types
        not_inserted = await self._insert(
            statement("insert_single_statement"), plan.event_rows(types.event_row)
        )
        # When no row was new, the statement has committed nothing.
        if len(not_inserted) < len(plan):
            self._state.committed()
        return await self._finish(not_inserted)

    async def run_copy(self) -> Verdicts:
        """Store many rows by COPY, in a transaction of several statements."""
        connection = self._connection
        await connection.execute(
            statement("begin_short_lock_timeout")
            if self._short_lock_timeout
            else statement("begin")
        )
        try:
            verdicts = await self._write()
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        self._state.commit_sent()
        tag = await connection.execute("COMMIT")
        if tag != "COMMIT":
            raise SilentRollbackError(tag)
        return verdicts

    async def _write(self) -> Verdicts:
        plan, types = self._flush.plan, self._connection.row_types
        not_inserted = await self._insert(
            statement("insert_ledger"), plan.ledger_rows(types.ledger_row)
        )
        if len(not_inserted) < len(plan):
            tag = await self._connection.copy_to_table(
                "events",
                source=_only(plan.copy_data(not_inserted)),
                columns=_EVENT_COLUMNS,
                format="binary",
            )
            if _rows_of(tag) != len(plan) - len(not_inserted):
                raise MissingRowsError("events")
        return await self._finish(not_inserted)

    async def _insert(self, query: str, rows: bytes) -> list[int]:
        """Claim the keys of *rows*; return the ids of the rows whose key the ledger has already."""
        if not len(self._flush.plan):
            return []
        try:
            return [record[0] for record in await self._connection.fetch(query, rows)]
        except asyncpg.PostgresError as error:
            if is_about_row_type(error):
                raise StaleSessionError from error
            raise

    async def _finish(self, not_inserted: list[int]) -> Verdicts:
        """Have the rows judged that were not inserted, and write the quarantine rows."""
        plan, rejected = self._flush.plan, self._flush.rejected
        verdicts: Verdicts = {}
        if not_inserted or plan.has_duplicates:
            verdicts, quarantined = await self._flush.judge(self, plan.not_inserted(not_inserted))
            rejected = rejected + quarantined
        if rejected:
            await self._insert_rejected(rejected)
        return verdicts

    async def find_entries(self, rows: list[Row]) -> dict[Key, LedgerEntry]:
        """
        Return the ledger entries with the keys of *rows*.

        Raises VanishedError when a key has no entry.
        """
        keys = sorted({key_of(row) for row in rows})
        records = await self._connection.fetch(
            statement("find_ledger"), [key[0] for key in keys], [key[1] for key in keys]
        )
        found = {(r["tenant_id"], r["event_key"]): LedgerEntry(*tuple(r)[2:]) for r in records}
        if len(found) < len(keys):
            raise VanishedError
        return found

    async def find_workspaces(self, events: list[EventPrimaryKey]) -> dict[EventPrimaryKey, int]:
        """Return the workspace ids of stored *events*; events that are gone are left out."""
        records = await self._connection.fetch(
            statement("find_workspaces"), *([key[place] for key in events] for place in range(3))
        )
        return {(r["tenant_id"], r["received_at"], r["id"]): r["workspace_id"] for r in records}

    async def _insert_rejected(self, rows: list[RejectedRow]) -> None:
        columns = {
            field: [getattr(row, field) for row in rows] for field in RejectedRow.__struct_fields__
        }
        tag = await self._connection.execute(statement("insert_rejected"), *columns.values())
        if _rows_of(tag) == len(rows):
            return
        # Fewer rows are right only after an earlier attempt that was committed.
        stored = await self._connection.fetchval(
            statement("count_rejected"),
            *(columns[field] for field in ("tenant_id", "received_at", "id")),
        )
        if stored != len(rows):
            raise MissingRowsError("rejected_events")


def key_of(row: Row) -> Key:
    """Return the key of *row* in the ledger."""
    return (row.tenant_id, row.event_key)


def _rows_of(tag: str) -> int:
    """Return the number of rows in the tag of a COPY or an INSERT."""
    return int(tag.rpartition(" ")[2])


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
