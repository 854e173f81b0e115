"""One flush as one transaction: ledger, events, quarantine; COPY for many rows, not for few."""

from collections.abc import Callable
from typing import Any, Final

from service.model import EventRow, Outcome, RejectedRow, Verdict
from service.reasons import CONFLICT_MESSAGES, Reason
from service.store.faults import SilentRollbackError, VanishedError
from service.store.flush import (
    Flush,
    Held,
    Key,
    conflict_verdict,
    held_by,
    key_of,
    outcome_of,
    quarantined,
)
from service.store.sql import statement

EVENT_COLUMNS: Final = (
    *("id", "tenant_id", "workspace_id", "event_id"),
    *("type", "event", "name", "category"),
    *("user_id", "anonymous_id", "group_id", "previous_id"),
    *("properties", "traits", "context", "extra"),
    *("schema_version", "request_id"),
    *("original_timestamp", "sent_at", "received_at", "timestamp"),
)

# Below it one statement is cheaper, above it COPY (docs/decisions/0007-small-flushes.md).
AT_ONCE_ROWS_MAX: Final = 40

Verdicts = dict[int, Verdict]
"""Verdicts by row id."""


class Transaction:
    """Writes one flush over one connection, once."""

    def __init__(
        self,
        connection: Any,
        flush: Flush,
        keep: Callable[[str], bool],
        *,
        is_impatient: bool = False,
    ) -> None:
        """
        *keep* says whether a key's budget of quarantined events has room for one more.

        *is_impatient*: wait only briefly for rows that another session holds.
        """
        self._connection = connection
        self._flush = flush
        self._keep = keep
        self._is_impatient = is_impatient
        self.is_commit_sent = False
        self.is_committed = False

    async def run(self) -> Verdicts:
        """
        Store the flush; return the verdict of every event row once COMMIT has been confirmed.

        Raises what asyncpg raises, SilentRollbackError or VanishedError. After an error of the
        server the transaction is rolled back; after a lost connection `is_commit_sent` tells
        whether it may have been committed.
        """
        if self._is_for_one_statement:
            return await self._run_at_once()
        connection = self._connection
        begin = statement("begin_impatient") if self._is_impatient else statement("begin")
        await connection.execute(begin)
        try:
            verdicts = await self._write()
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        self.is_commit_sent = True
        tag = await connection.execute("COMMIT")
        if tag != "COMMIT":
            raise SilentRollbackError(tag)
        return verdicts

    @property
    def _is_for_one_statement(self) -> bool:
        has_few_rows = len(self._flush.firsts) <= AT_ONCE_ROWS_MAX
        return has_few_rows and not self._flush.rejected and not self._is_impatient

    async def _run_at_once(self) -> Verdicts:
        """Store few rows by one statement that commits itself: one round trip instead of five."""
        self.is_commit_sent = True
        new_ids = await self._insert_at_once(self._flush.firsts)
        self.is_committed = True
        return await self._finish(new_ids)

    async def _write(self) -> Verdicts:
        new_ids = await self._insert_ledger(self._flush.firsts)
        await self._copy_events([row for row in self._flush.firsts if row.id in new_ids])
        return await self._finish(new_ids)

    async def _finish(self, new_ids: set[int]) -> Verdicts:
        """Find the verdicts of the rows that were not new, and put refused ones into quarantine."""
        firsts, twins = self._flush.firsts, self._flush.twins
        winners = [row for row in firsts if row.id in new_ids]
        verdicts = {row.id: Verdict(row.event_id, Outcome.ACCEPTED) for row in winners}
        rejected = self._flush.rejected
        if len(winners) < len(firsts) or twins:
            late = [row for row in firsts if row.id not in new_ids] + twins
            holders = await self._find_holders(late, winners)
            rejected = rejected + await self._judge(late, holders, verdicts)
        await self._insert_rejected(rejected)
        return verdicts

    async def _insert_at_once(self, rows: list[EventRow]) -> set[int]:
        if not rows:
            return set()
        columns = zip(
            *((row.event_key, row.payload_hash, *_columns(row)) for row in rows), strict=True
        )
        returned = await self._connection.fetch(statement("insert_at_once"), *columns)
        return {record[0] for record in returned}

    async def _insert_ledger(self, rows: list[EventRow]) -> set[int]:
        if not rows:
            return set()
        returned = await self._connection.fetch(
            statement("insert_ledger"),
            [row.tenant_id for row in rows],
            [row.event_key for row in rows],
            [row.id for row in rows],
            [row.payload_hash for row in rows],
            [row.received_at for row in rows],
        )
        return {record[0] for record in returned}

    async def _copy_events(self, rows: list[EventRow]) -> None:
        if not rows:
            return
        await self._connection.copy_records_to_table(
            "events", columns=EVENT_COLUMNS, records=[_columns(row) for row in rows]
        )

    async def _find_holders(self, late: list[EventRow], winners: list[EventRow]) -> dict[Key, Held]:
        won = {key_of(row): held_by(row) for row in winners}
        asked = sorted({key for row in late if (key := key_of(row)) not in won})
        records = await self._connection.fetch(
            statement("find_ledger"), [key[0] for key in asked], [key[1] for key in asked]
        )
        found = {(r["tenant_id"], r["event_key"]): Held(*tuple(r)[2:]) for r in records}
        if len(found) < len(asked):
            # Deleted between the two statements: neither new nor there. Only a new run can tell.
            raise VanishedError
        return won | found

    async def _judge(
        self, late: list[EventRow], holders: dict[Key, Held], verdicts: Verdicts
    ) -> list[RejectedRow]:
        """Put the verdicts of rows that did not come first into *verdicts*; return quarantine."""
        conflicts: list[EventRow] = []
        for row in late:
            outcome = outcome_of(row, holders[key_of(row)])
            if outcome is Outcome.CONFLICT:
                conflicts.append(row)
            else:
                verdicts[row.id] = Verdict(row.event_id, outcome)
        workspaces = await self._find_workspaces(conflicts, holders)
        kept: list[RejectedRow] = []
        for row in conflicts:
            other = workspaces.get(holders[key_of(row)].id, row.workspace_id)
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
        self, conflicts: list[EventRow], holders: dict[Key, Held]
    ) -> dict[int, int]:
        if not conflicts:
            return {}
        asked = [(row.tenant_id, holders[key_of(row)]) for row in conflicts]
        records = await self._connection.fetch(
            statement("find_workspaces"),
            [tenant_id for tenant_id, _ in asked],
            [held.received_at for _, held in asked],
            [held.id for _, held in asked],
        )
        return {record["id"]: record["workspace_id"] for record in records}

    async def _insert_rejected(self, rows: list[RejectedRow]) -> None:
        if not rows:
            return
        fields = RejectedRow.__struct_fields__
        await self._connection.execute(
            statement("insert_rejected"),
            *([getattr(row, field) for row in rows] for field in fields),
        )


def _columns(row: EventRow) -> tuple[object, ...]:
    raw = row.raw
    return (
        *(row.id, row.tenant_id, row.workspace_id, row.event_id),
        *(raw.type, raw.event, raw.name, raw.category),
        *(raw.user_id, raw.anonymous_id, raw.group_id, raw.previous_id),
        *(row.properties, row.traits, row.context, row.extra),
        *(row.schema_version, row.request_id),
        *(row.original_timestamp, row.sent_at, row.received_at, row.timestamp),
    )
