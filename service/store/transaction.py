"""One flush as one transaction: ledger, events, quarantine; COPY for many rows, not for few."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg

from service._native import Row, event_columns
from service.model import Outcome, RejectedRow, Verdict
from service.reasons import CONFLICT_MESSAGES, Reason
from service.store.faults import (
    MissingRowsError,
    SilentRollbackError,
    StaleSessionError,
    UnconfirmedCommitError,
    VanishedError,
    is_about_types,
)
from service.store.flush import (
    EventPlace,
    Flush,
    Held,
    Key,
    Verdicts,
    conflict_verdict,
    key_of,
    outcome_of,
    quarantined,
)
from service.store.sql import statement

_EVENT_COLUMNS: Final = event_columns()

# Up to here one statement is cheaper, above it COPY (docs/decisions/0007-small-flushes.md).
AT_ONCE_ROWS_MAX: Final = 160


class Transaction:
    """Writes one flush over one session, once."""

    def __init__(
        self,
        session: Any,
        flush: Flush,
        keep: Callable[[str], bool],
        *,
        is_impatient: bool = False,
    ) -> None:
        """
        *keep* says whether a key's budget of quarantined events has room for one more.

        *is_impatient*: wait only briefly for rows that another session holds.
        """
        self.session = session
        self._flush = flush
        self._keep = keep
        self._is_impatient = is_impatient
        self.is_commit_sent = False
        self.is_committed = False

    async def run(self) -> Verdicts:
        """
        Store the flush; once COMMIT has been confirmed return the verdicts of rows that are late.

        Raises errors of asyncpg or of service.store.faults. After an error of the server the
        transaction is rolled back; after a lost connection `is_commit_sent` tells whether it may
        have been committed.
        """
        self.session.is_unconfirmed = False
        way = self._run_at_once if self._is_for_one_statement else self._run_steps
        verdicts = await way()
        # Applies to every commit, including one that wrote nothing and only waited for the standby.
        if self.session.is_unconfirmed:
            raise UnconfirmedCommitError
        return verdicts

    async def _run_steps(self) -> Verdicts:
        """Store many rows in a transaction of several statements."""
        session = self.session
        begin = statement("begin_impatient") if self._is_impatient else statement("begin")
        await session.execute(begin)
        try:
            verdicts = await self._write()
        except BaseException:
            if not session.is_closed():
                await session.execute("ROLLBACK")
            raise
        self.is_commit_sent = True
        tag = await session.execute("COMMIT")
        if tag != "COMMIT":
            raise SilentRollbackError(tag)
        return verdicts

    @property
    def _is_for_one_statement(self) -> bool:
        has_few_rows = len(self._flush.plan) <= AT_ONCE_ROWS_MAX
        return has_few_rows and not self._flush.rejected and not self._is_impatient

    async def _run_at_once(self) -> Verdicts:
        """Store few rows by one statement that commits itself: one round trip instead of five."""
        self.is_commit_sent = True
        plan, types = self._flush.plan, self.session.row_types
        late_ids = await self._insert(statement("insert_at_once"), plan.records(types.event_row))
        # When no row was new, the statement has committed nothing.
        self.is_committed = len(late_ids) < len(plan)
        return await self._finish(late_ids)

    async def _write(self) -> Verdicts:
        plan, types = self._flush.plan, self.session.row_types
        late_ids = await self._insert(statement("insert_ledger"), plan.ledger(types.ledger_row))
        if len(late_ids) < len(plan):
            tag = await self.session.copy_to_table(
                "events",
                source=_only(plan.copy(late_ids)),
                columns=_EVENT_COLUMNS,
                format="binary",
            )
            if _rows_of(tag) != len(plan) - len(late_ids):
                raise MissingRowsError("events")
        return await self._finish(late_ids)

    async def _insert(self, insert: str, rows: bytes) -> list[int]:
        """Claim the keys of *rows*; return the ids of those that were not new."""
        if not len(self._flush.plan):
            return []
        try:
            return [record[0] for record in await self.session.fetch(insert, rows)]
        except asyncpg.PostgresError as error:
            if is_about_types(error):
                raise StaleSessionError from error
            raise

    async def _finish(self, late_ids: list[int]) -> Verdicts:
        """Find the verdicts of the rows that were not new, and put refused ones into quarantine."""
        plan, rejected = self._flush.plan, self._flush.rejected
        verdicts: Verdicts = {}
        if late_ids or plan.has_twins:
            late = plan.late(late_ids)
            holders = await self._find_holders(late)
            rejected = rejected + await self._judge(late, holders, verdicts)
        if rejected:
            await self._insert_rejected(rejected)
        return verdicts

    async def _find_holders(self, late: list[Row]) -> dict[Key, Held]:
        asked = sorted({key_of(row) for row in late})
        records = await self.session.fetch(
            statement("find_ledger"), [key[0] for key in asked], [key[1] for key in asked]
        )
        found = {(r["tenant_id"], r["event_key"]): Held(*tuple(r)[2:]) for r in records}
        if len(found) < len(asked):
            # Deleted between the two statements: neither new nor there. Only a new run can tell.
            raise VanishedError
        return found

    async def _judge(
        self, late: list[Row], holders: dict[Key, Held], verdicts: Verdicts
    ) -> list[RejectedRow]:
        """Put the verdicts of rows that did not come first into *verdicts*; return quarantine."""
        conflicts: list[Row] = []
        for row in late:
            outcome = outcome_of(row, holders[key_of(row)])
            if outcome is Outcome.CONFLICT:
                conflicts.append(row)
            else:
                verdicts[row.id] = Verdict(row.event_id, outcome)
        workspaces = await self._find_workspaces(conflicts, holders)
        kept: list[RejectedRow] = []
        for row in conflicts:
            held = holders[key_of(row)]
            place = (row.tenant_id, held.received_at, held.id)
            other = workspaces.get(place, row.workspace_id)
            reason = (
                Reason.CONTENT_DIFFERS
                if other == row.workspace_id
                else Reason.ID_USED_IN_OTHER_WORKSPACE
            )
            verdicts[row.id] = conflict_verdict(row, reason)
            if self._keep(row.key_id):
                kept.append(quarantined(row, reason, CONFLICT_MESSAGES[reason]))
        return kept

    async def _find_workspaces(
        self, conflicts: list[Row], holders: dict[Key, Held]
    ) -> dict[EventPlace, int]:
        if not conflicts:
            return {}
        asked = [(row.tenant_id, holders[key_of(row)]) for row in conflicts]
        records = await self.session.fetch(
            statement("find_workspaces"),
            [tenant_id for tenant_id, _ in asked],
            [held.received_at for _, held in asked],
            [held.id for _, held in asked],
        )
        return {
            (record["tenant_id"], record["received_at"], record["id"]): record["workspace_id"]
            for record in records
        }

    async def _insert_rejected(self, rows: list[RejectedRow]) -> None:
        columns = {
            field: [getattr(row, field) for row in rows] for field in RejectedRow.__struct_fields__
        }
        tag = await self.session.execute(statement("insert_rejected"), *columns.values())
        if _rows_of(tag) == len(rows):
            return
        # Fewer rows are right only after an earlier try that was committed: they are stored then.
        stored = await self.session.fetchval(
            statement("count_rejected"),
            *(columns[field] for field in ("tenant_id", "received_at", "id")),
        )
        if stored != len(rows):
            raise MissingRowsError("rejected_events")


def _rows_of(tag: str) -> int:
    """Return the number of rows in the tag of a COPY or an INSERT."""
    return int(tag.rpartition(" ")[2])


async def _only(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
