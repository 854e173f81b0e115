"""The ingest endpoints: key, body, checks, store, answer."""

from typing import Final

import msgspec

from service.clock import Clock
from service.edge import replies
from service.edge.access import Access
from service.edge.body import BodyReader
from service.edge.inbound import Inbound
from service.edge.keys import KeyRing
from service.edge.replies import Reply
from service.edge.request import schema_version
from service.model import Accepted, ApiKey, Limits
from service.pipeline.batcher import Batcher
from service.pipeline.check import Arrival, Checker, scan
from service.reasons import Reason, Refusal

# The largest profile of a key (`provision … --profile segment`).
PROFILE_LIMITS_MAX: Final = Limits(bytes_max=512 * 1024, events_max=250)


class IngestConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may bring when its key says nothing else."""

    limits: Limits
    body_timeout_s: float
    schema_version_default: str
    schema_versions: frozenset[str]


class Ingest:
    """Takes requests with events to their verdicts."""

    def __init__(
        self,
        *,
        keys: KeyRing,
        checker: Checker,
        batcher: Batcher,
        clock: Clock,
        config: IngestConfig,
    ) -> None:
        self._keys = keys
        self._checker = checker
        self._batcher = batcher
        self._clock = clock
        self._config = config
        self._bodies = BodyReader(config.body_timeout_s)

    async def answer(
        self,
        event_type: str | None,
        request_id: int,
        inbound: Inbound,
        access: Access,
    ) -> Reply:
        """
        Store the events of a request and return its answer; *event_type* is None for a batch.

        Raises
        ------
        Refusal
            The request as a whole is not accepted.
        """
        config, headers = self._config, inbound.headers
        access.traceparent = headers.get(b"traceparent")
        access.schema_version = version = schema_version(
            headers, config.schema_version_default, config.schema_versions
        )
        cached = self._keys.cached(headers) or await self._keys.in_headers(headers)
        if cached is None:
            limits = self._limits_of_unknown_key()
        else:
            access.key = cached.key
            limits = self._limits(cached.key)
        body = await self._bodies.read(inbound, limits.bytes_max)
        received_at_us = self._clock.unix_us()
        access.size_bytes = len(body)
        scanned = scan(body, event_type, limits.events_max)
        if cached is None:
            cached = await self._keys.authenticate(scanned.write_key or "")
            access.key = cached.key
            limits = _least(limits, self._limits(cached.key))
            _require_size(len(body), limits)
        if not 0 < scanned.count <= limits.events_max:
            raise _wrong_count(scanned.count, limits)
        # Check the key again: it may have been revoked while the body arrived.
        key = cached.key if self._keys.is_current(cached) else await self._keys.renew(cached)
        arrival = Arrival(
            tenant_id=key.tenant_id,
            workspace_id=key.workspace_id,
            key_id=key.key_id,
            request_id=request_id,
            schema_version=version,
            received_at_us=received_at_us,
        )
        checked = self._checker.check(scanned, arrival)
        # The queue is bounded by what the rows take: the body must not wait beside them.
        del body, scanned
        access.payload = checked.payload
        stored = await self._batcher.submit(checked.payload) if checked.has_rows else ()
        verdicts = checked.complete(stored)
        access.counts = replies.count(verdicts)
        if event_type is None:
            return replies.batch_processed(access.request_id, access.counts, verdicts)
        if isinstance(verdicts, Accepted):
            return replies.event_accepted(access.request_id, verdicts)
        return replies.event_processed(access.request_id, verdicts[0])

    def _limits_of_unknown_key(self) -> Limits:
        """Clients that name their key only in the body are read before it is known."""
        defaults = self._config.limits
        return Limits(
            max(defaults.bytes_max, PROFILE_LIMITS_MAX.bytes_max),
            max(defaults.events_max, PROFILE_LIMITS_MAX.events_max),
        )

    def _limits(self, key: ApiKey) -> Limits:
        defaults = self._config.limits
        if key.bytes_max is None and key.events_max is None:
            return defaults
        return Limits(key.bytes_max or defaults.bytes_max, key.events_max or defaults.events_max)


def _least(scanned: Limits, own: Limits) -> Limits:
    """Return what both allow: past the first limits events were counted, not read."""
    return Limits(min(scanned.bytes_max, own.bytes_max), min(scanned.events_max, own.events_max))


def _require_size(size_bytes: int, limits: Limits) -> None:
    if size_bytes > limits.bytes_max:
        raise Refusal(
            Reason.PAYLOAD_TOO_LARGE,
            f"The body has {size_bytes} bytes (decoded); at most {limits.bytes_max} are allowed.",
            limit=limits.bytes_max,
            actual=size_bytes,
        )


def _wrong_count(count: int, limits: Limits) -> Refusal:
    details: dict[str, str | int] = {"field": "batch", "limit": limits.events_max, "actual": count}
    if count == 0:
        return Refusal(
            Reason.BATCH_EMPTY,
            f"batch holds no event; it takes 1 to {limits.events_max}.",
            **details,
        )
    return Refusal(
        Reason.BATCH_TOO_LARGE,
        f"batch holds {count} events; at most {limits.events_max} are allowed with this key.",
        **details,
    )
