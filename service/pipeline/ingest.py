"""
The path of a request with events: authenticate, read, scan, check, submit, answer.

`Ingest.process` has the steps in this order. Short steps have no coroutine of their own: with one
each, a request took 6 % more processor time.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from service._native import Scan
from service.apikey import before_colon
from service.clock import Clock
from service.model import (
    AcceptedVerdicts,
    ApiKey,
    Limits,
    Outcome,
    Payload,
    Verdict,
)
from service.pipeline.batcher import Batcher
from service.pipeline.check import Arrival, Checked, Checker, scan
from service.pipeline.keys import CachedKey, KeyRing
from service.pipeline.profiles import Profiles, RequestSize
from service.pipeline.rate_limits import RateLimits
from service.pipeline.rejects import Rejects
from service.pipeline.turns import ScanTurns
from service.reasons import Reason, RefusedError

_NO_LIMITS: Final = Limits(0, 0)
_SCHEMA_VERSION: Final = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}(\.[0-9]{1,5})?")
_QUOTED_CHARS_MAX: Final = 64
# Smaller bodies never wait for a turn: their scan costs less than the rest of their request.
UNGATED_BYTES_MAX: Final = 8 * 1024


class Body(Protocol):
    """The body of a request, before it is read."""

    async def read(self, bytes_max: int, key_id: str | None) -> bytes:
        """
        Return the decoded body of at most *bytes_max* bytes; *key_id* is the key of the headers.

        Raises
        ------
        RefusedError
            It is too large, too slow, or not encoded as its header says; or incomplete bodies take
            too much memory.
        """

    def held(self, body_bytes: int, key_id: str | None) -> AbstractContextManager[None]:
        """Count the memory of the body while it waits for something else, after `read`."""


class Counts(msgspec.Struct, frozen=True):
    """Events of one request, by outcome."""

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int


class Request(msgspec.Struct, kw_only=True):
    """
    One request: what HTTP says about it, and the results of the steps so far.

    `event_type`: None for a batch. `endpoint` and `method` are from closed sets, for metrics and
    logs.
    """

    id: int
    id_text: str
    method: str
    endpoint: str
    body: Body
    event_type: str | None = None
    key_text: bytes | None = None
    """The API key in the headers; None: no header has one."""
    schema_version_text: bytes | None = None
    """The header `X-Event-Schema-Version`."""
    traceparent: bytes | None = None

    # Set by the steps.
    schema_version: str = ""
    key: CachedKey | None = None
    limits: Limits = _NO_LIMITS
    received_at_us: int = 0
    """When the whole body had arrived, in microseconds since 1970."""
    body_bytes: int = -1
    """Size of the decoded body; -1: not read."""
    payload: Payload | None = None
    counts: Counts | None = None


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    What requests may contain.

    `limits` apply to keys without limits of their own. `expansion_max`: how large a request may be
    with the batch's context in each event, as a multiple of `bytes_max`. `schema_versions`: the
    supported ones; empty for all.
    """

    limits: Limits
    expansion_max: int
    schema_version_default: str
    schema_versions: frozenset[str]


class Ingest:
    """Takes requests from their headers to the verdicts of their events. One per worker."""

    def __init__(  # noqa: PLR0913 - keywords
        self,
        *,
        keys: KeyRing,
        rate_limits: RateLimits,
        checker: Checker,
        batcher: Batcher,
        turns: ScanTurns,
        rejects: Rejects,
        clock: Clock,
        config: IngestConfig,
    ) -> None:
        self._keys = keys
        self._rate_limits = rate_limits
        self._checker = checker
        self._batcher = batcher
        self._turns = turns
        self._rejects = rejects
        self._clock = clock
        self._config = config
        self._profiles = Profiles(config.limits, config.expansion_max)
        self.limits_without_key = self._profiles.without_key
        """Of a request whose key may be in its body."""

    async def process(self, request: Request) -> Sequence[Verdict]:
        """
        Store the events of *request*; return one verdict per event, in order, after the commit.

        Raises
        ------
        RefusedError
            The request as a whole is refused.
        """
        request.schema_version = self._schema_version(request)
        key = await self._authenticate(request)
        key_id = None if key is None else key.key.key_id
        try:
            body = await request.body.read(request.limits.bytes_max, key_id)
        except RefusedError as refusal:
            raise self._profiles.body_refused(refusal, has_key=key is not None) from None
        request.received_at_us = self._clock.unix_us()
        request.body_bytes = len(body)
        if len(body) > UNGATED_BYTES_MAX and not self._turns.take(len(body)):
            with request.body.held(len(body), key_id):
                await self._turns.wait(key_id or "", len(body))
        events_max = request.limits.events_max
        scanned = scan(body, request.event_type, events_max)
        if key is None:
            text = _key_of_body(scanned)
            key = self._keys.cached(text)
            if key is None:
                # A scan can take four times the memory of its body, so none waits for a look-up.
                del scanned
                with request.body.held(len(body), None):
                    key = await self._keys.authenticate(text)
                scanned = scan(body, request.event_type, events_max)
            self._set_key_of_body(request, key, scanned.count)
        if scanned.context_bytes or not 0 < scanned.count <= request.limits.events_max:
            self._require_fitting(request, scanned)
        if request.limits.events_per_second:
            self._rate_limits.take(key.key.key_id, request.limits.events_per_second, scanned.count)
        # The key may have been revoked while the body arrived.
        current = key.key
        if not self._keys.is_current(key):
            del scanned
            with request.body.held(len(body), current.key_id):
                current = await self._keys.renew(key)
            scanned = scan(body, request.event_type, events_max)
        checked = self._check(request, scanned, current)
        # The limit of the queue counts the rows only, so the body must not stay in memory.
        del body, scanned
        stored = await self._batcher.submit(checked.payload) if checked.has_rows else ()
        return self._answer(request, checked, stored)

    def refused(self, request: Request, refusal: RefusedError) -> None:
        """Note that a request was refused as a whole."""
        if request.key is not None:
            self._rejects.request_refused(request.key.key, request.id_text, refusal)

    def _schema_version(self, request: Request) -> str:
        if request.schema_version_text is None:
            return self._config.schema_version_default
        return checked_schema_version(request.schema_version_text, self._config.schema_versions)

    async def _authenticate(self, request: Request) -> CachedKey | None:
        """Return the key in the headers; None if no header has one, so the body must have it."""
        text = request.key_text
        if text is None:
            request.limits = self.limits_without_key
            return None
        request.key = key = self._keys.cached(text) or await self._keys.authenticate(text)
        request.limits = limits = self._limits_of(key.key)
        if limits.events_per_second:
            # Before the body is read, so that a refusal costs little.
            self._rate_limits.require_token(key.key.key_id, limits.events_per_second)
        return key

    def _set_key_of_body(self, request: Request, key: CachedKey, events: int) -> None:
        request.key = key
        own = self._limits_of(key.key)
        # Events beyond the first limit were counted, but not scanned.
        events_max = min(request.limits.events_max, own.events_max)
        request.limits = Limits(own.bytes_max, events_max, own.events_per_second)
        if request.body_bytes > own.bytes_max:
            refusal = _too_large(request.body_bytes, own.bytes_max)
            raise self._profiles.advised(refusal, RequestSize(request.body_bytes, events))

    def _require_fitting(self, request: Request, scanned: Scan) -> None:
        """
        Refuse a wrong number of events, and a small body that becomes large rows.

        The context of a batch is stored with each event.
        """
        if not 0 < scanned.count <= request.limits.events_max:
            raise self._wrong_count(request, scanned.count)
        bytes_max = self._config.expansion_max * request.limits.bytes_max
        copied_bytes = scanned.context_bytes * (scanned.count - 1)
        actual = request.body_bytes + copied_bytes
        if actual > bytes_max:
            refusal = RefusedError(
                Reason.PAYLOAD_TOO_LARGE,
                f"The body has {request.body_bytes} bytes, and {actual} with its context of"
                f" {scanned.context_bytes} bytes copied into each of {scanned.count} events; at"
                f" most {bytes_max} are allowed.",
                field="context",
                limit=bytes_max,
                actual=actual,
            )
            size = RequestSize(request.body_bytes, scanned.count, actual)
            raise self._profiles.advised(refusal, size)

    def _wrong_count(self, request: Request, events: int) -> RefusedError:
        limit = request.limits.events_max
        details: dict[str, str | int] = {"field": "batch", "limit": limit, "actual": events}
        if events == 0:
            return RefusedError(
                Reason.BATCH_EMPTY, f"batch holds no event; it takes 1 to {limit}.", **details
            )
        place = " in the body" if request.key_text is None else ""
        refusal = RefusedError(
            Reason.BATCH_TOO_LARGE,
            f"batch holds {events} events; at most {limit} are allowed with this key{place}.",
            **details,
        )
        return self._profiles.advised(refusal, RequestSize(request.body_bytes, events))

    def _check(self, request: Request, scanned: Scan, key: ApiKey) -> Checked:
        arrival = Arrival(
            tenant_id=key.tenant_id,
            workspace_id=key.workspace_id,
            key_id=key.key_id,
            request_id=request.id,
            schema_version=request.schema_version,
            received_at_us=request.received_at_us,
        )
        checked = self._checker.check(scanned, arrival)
        request.payload = checked.payload
        return checked

    def _answer(
        self, request: Request, checked: Checked, stored: Sequence[Verdict]
    ) -> Sequence[Verdict]:
        verdicts = checked.complete(stored)
        request.counts = counts = count(verdicts)
        if counts.rejected or counts.conflicts:
            assert request.key is not None  # noqa: S101 - a request without a key has no counts
            self._rejects.events_rejected(request.key.key, request.id_text, verdicts)
        return verdicts

    def _limits_of(self, key: ApiKey) -> Limits:
        defaults = self._config.limits
        rate = key.events_per_second
        if key.bytes_max is None and key.events_max is None and rate is None:
            return defaults
        return Limits(
            key.bytes_max or defaults.bytes_max,
            key.events_max or defaults.events_max,
            defaults.events_per_second if rate is None else rate,
        )


def checked_schema_version(header: bytes, supported: frozenset[str]) -> str:
    """
    Return the schema version in *header*.

    Raises
    ------
    RefusedError
        It is not MAJOR.MINOR or MAJOR.MINOR.PATCH, or not in *supported* (empty: all are).
    """
    text = header.decode("latin-1").strip()
    if not _SCHEMA_VERSION.fullmatch(text):
        raise _invalid_version(text, "is not MAJOR.MINOR or MAJOR.MINOR.PATCH, such as 1.0")
    if supported and text not in supported:
        raise _invalid_version(text, f"is not supported; {', '.join(sorted(supported))} are")
    return text


def count(verdicts: Sequence[Verdict]) -> Counts:
    """Count verdicts by outcome."""
    if isinstance(verdicts, AcceptedVerdicts):
        return Counts(len(verdicts), 0, 0, 0)
    outcomes = [verdict.status for verdict in verdicts]
    return Counts(
        outcomes.count(Outcome.ACCEPTED),
        outcomes.count(Outcome.DUPLICATE),
        outcomes.count(Outcome.CONFLICT),
        outcomes.count(Outcome.REJECTED),
    )


def _key_of_body(scanned: Scan) -> bytes:
    if scanned.has_different_keys:
        raise RefusedError(
            Reason.AMBIGUOUS_FIELD,
            "The events of the batch have different writeKeys: send one key, in a header or as"
            " writeKey beside batch.",
            field="writeKey",
        )
    return before_colon((scanned.write_key or "").encode())


def _invalid_version(text: str, fault: str) -> RefusedError:
    shown = text[:_QUOTED_CHARS_MAX]
    return RefusedError(
        Reason.INVALID_SCHEMA_VERSION,
        f"X-Event-Schema-Version {shown!r} {fault}.",
        field="X-Event-Schema-Version",
        actual=shown,
    )


def _too_large(body_bytes: int, bytes_max: int) -> RefusedError:
    return RefusedError(
        Reason.PAYLOAD_TOO_LARGE,
        f"The body has {body_bytes} bytes (decoded); at most {bytes_max} are allowed.",
        limit=bytes_max,
        actual=body_bytes,
    )
