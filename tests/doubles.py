"""
Test doubles of parts of the service, and test data, for tests and benchmarks.

The functions and classes that make events and payloads use the core and the checks of the service.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from service._native import Row, RowIds, Rows
from service.apikey import Credential, MintedKey, mint
from service.model import ApiKey, Outcome, Payload, RejectedRow, Verdict
from service.pipeline.check import Arrival, Checked, Checker, random_row_ids, scan
from service.pipeline.quarantine import QuarantineBudget, QuarantineLimits
from service.reasons import CONFLICT_MESSAGES, Reason
from service.store.ledger import Key, LedgerEntry, key_of
from service.store.outcomes import conflict_verdict, ledger_entry, outcome_of, quarantined

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK_SKEW_MIN: Final = timedelta(days=30)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVENTS_MAX: Final = 10_000


class FixedClock:
    """A clock that only the test advances."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        return self._now

    def unix_us(self) -> int:
        return (self._now - _EPOCH) // timedelta(microseconds=1)

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Advance the wall clock and the monotonic clock by *seconds*."""
        self.step(seconds)
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Step the wall clock forward or back; the monotonic clock stays."""
        self._now += timedelta(seconds=seconds)


class MemoryStore:
    """The rules of the store without PostgreSQL: the first event with an id is stored."""

    def __init__(self) -> None:
        self.events: list[Row] = []
        self.rejected: list[RejectedRow] = []
        self.flushes: list[list[Payload]] = []
        self._ledger: dict[Key, LedgerEntry] = {}
        self._workspaces: dict[Key, int] = {}

    async def write(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        """Store *payloads* immediately; *deadline* is not used."""
        del deadline
        self.flushes.append(payloads)
        for payload in payloads:
            self.rejected += payload.rejected
        return [[self._store(row) for row in payload.events.all()] for payload in payloads]

    def _store(self, row: Row) -> Verdict:
        key = key_of(row)
        entry = self._ledger.setdefault(key, ledger_entry(row))
        outcome = outcome_of(row, entry)
        if outcome is Outcome.CONFLICT:
            is_here = self._workspaces[key] == row.workspace_id
            reason = Reason.CONTENT_DIFFERS if is_here else Reason.ID_USED_IN_OTHER_WORKSPACE
            self.rejected.append(quarantined(row, reason, CONFLICT_MESSAGES[reason]))
            return conflict_verdict(row, reason)
        if key not in self._workspaces:
            self._workspaces[key] = row.workspace_id
            self.events.append(row)
        return Verdict(row.event_id, outcome)


class KeyTable:
    """API keys by id, with the `find` of the store."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = {key.key_id: key for key in keys}
        self.lookups: list[str] = []

    async def find(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """Return the keys with these ids, by id."""
        self.lookups += key_ids
        return {key_id: self.keys[key_id] for key_id in key_ids if key_id in self.keys}


class Sender:
    """Makes the payloads of one key, with the core and the checks of the service."""

    def __init__(
        self,
        key: ApiKey | None = None,
        *,
        ids: RowIds | None = None,
        clock: FixedClock | None = None,
        rows_per_minute: int = 1_000_000,
        clock_skew_min: timedelta = CLOCK_SKEW_MIN,
    ) -> None:
        """*ids*: random as in a worker unless given."""
        self.key = make_key() if key is None else key
        self.clock = FixedClock() if clock is None else clock
        self.dropped = 0
        self._requests = 0
        limits = quarantine_limits(rows_per_minute=rows_per_minute)
        budget = QuarantineBudget(self.clock, limits, self._drop)
        ids = random_row_ids() if ids is None else ids
        self._checker = Checker(budget, ids, clock_skew_min // timedelta(microseconds=1))

    def check(self, *events: Any, key: ApiKey | None = None, **envelope: Any) -> Checked:
        """Check a batch request of *events*; *envelope* are further members of the body."""
        return self.check_body(make_body(events, **envelope), key=key)

    def check_body(
        self,
        body: bytes,
        event_type: str | None = None,
        *,
        key: ApiKey | None = None,
        schema_version: str = "1.0",
    ) -> Checked:
        """Check a body as the pipeline does; *event_type* is None for a batch."""
        self._requests += 1
        key = self.key if key is None else key
        arrival = Arrival(
            tenant_id=key.tenant_id,
            workspace_id=key.workspace_id,
            key_id=key.key_id,
            request_id=self._requests,
            schema_version=schema_version,
            received_at_us=self.clock.unix_us(),
        )
        return self._checker.check(scan(body, event_type, _EVENTS_MAX), arrival)

    def payload(self, *events: Any, key: ApiKey | None = None) -> Payload:
        """Return the payload of a batch of *events*."""
        return self.check(*events, key=key).payload

    def rows(self, *events: Any, key: ApiKey | None = None) -> Rows:
        """Return the rows of *events*; ValueError if one is rejected."""
        payload = self.payload(*events, key=key)
        if payload.rejected:
            raise ValueError(payload.rejected[0].message)
        return payload.events

    def row(self, event_id: str | None = None, **fields: Any) -> Row:
        """Return the decoded row of one track event."""
        return self.rows(make_event(event_id, **fields)).all()[0]

    def _drop(self, _cause: str) -> None:
        self.dropped += 1


def make_key(minted: MintedKey | None = None, **fields: Any) -> ApiKey:
    """Return a key of tenant 1 and workspace 1, with *fields* replaced."""
    credential: Credential = (mint() if minted is None else minted).credential
    key = ApiKey(
        key_id=credential.key_id,
        tenant_id=1,
        workspace_id=1,
        secret_sha256=credential.secret_sha256,
        events_max=None,
        events_per_second=None,
        bytes_max=None,
        expires_at=None,
        is_disabled=False,
    )
    return msgspec.structs.replace(key, **fields)


def make_event(event_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return one track event as a client would send it."""
    event: dict[str, Any] = {"type": "track", "event": "Signed Up", "user_id": "u1"}
    if event_id is not None:
        event["event_id"] = event_id
    return event | fields


def make_body(events: Sequence[Any], **envelope: Any) -> bytes:
    """Return the body of a batch request."""
    return msgspec.json.encode({"batch": events} | envelope)


def make_payload(events: Rows, rejected: Sequence[RejectedRow] = ()) -> Payload:
    """Return a payload of given rows."""
    rows = len(events) + len(rejected) or 1
    return Payload(events, list(rejected), events.size_bytes, rows, "key")


def quarantine_limits(**limits: int) -> QuarantineLimits:
    """Return limits that allow everything, with *limits* replaced."""
    everything = {"rows_per_minute": 10**9, "bytes_per_minute": 10**12, "table_bytes_max": 10**15}
    return QuarantineLimits(**everything | limits)


def always(answer: bool) -> Callable[[str, int], bool]:
    """Return a quarantine budget that allows everything (True) or nothing (False)."""
    return lambda _key_id, _size_bytes: answer
