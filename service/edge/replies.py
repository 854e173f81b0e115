"""Every answer, as bytes. A reason becomes status, headers and body here and nowhere else."""

from collections.abc import Sequence
from typing import Final

import msgspec

from service.model import Accepted, Outcome, Verdict
from service.reasons import FAULTS, Fault, Reason, Refusal

Header = tuple[bytes, bytes]

_JSON: Final[Header] = (b"content-type", b"application/json")
_EVENT_FAULT_STATUS: Final = 400
_ENCODER: Final = msgspec.json.Encoder()
# Of an array of one object: its members, and the brace that closes it.
_VERDICT: Final = slice(len("[{"), -len("]"))


class Reply(msgspec.Struct, frozen=True):
    """An answer; `code` is its reason when something was refused."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)
    code: Reason | None = None


class Counts(msgspec.Struct, frozen=True):
    """How the events of one request ended."""

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int


class _BatchBody(msgspec.Struct, frozen=True):
    success: bool
    request_id: str
    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    results: Sequence[Verdict] | msgspec.Raw


class _EventBody(msgspec.Struct, frozen=True, omit_defaults=True):
    success: bool
    request_id: str
    event_id: str | None
    status: Outcome
    code: Reason | None = None
    message: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    code: Reason
    message: str
    request_id: str
    event_id: str | None = None
    field: str | None = None
    limit: int | None = None
    actual: int | str | None = None
    offset: int | None = None


def count(verdicts: Sequence[Verdict]) -> Counts:
    """Count verdicts by outcome."""
    if isinstance(verdicts, Accepted):
        return Counts(len(verdicts), 0, 0, 0)
    outcomes = [verdict.status for verdict in verdicts]
    return Counts(
        outcomes.count(Outcome.ACCEPTED),
        outcomes.count(Outcome.DUPLICATE),
        outcomes.count(Outcome.CONFLICT),
        outcomes.count(Outcome.REJECTED),
    )


def batch_processed(request_id: str, counts: Counts, verdicts: Sequence[Verdict]) -> Reply:
    """Return the answer to a batch: one result per event, in order."""
    results = msgspec.Raw(verdicts.on_the_wire()) if isinstance(verdicts, Accepted) else verdicts
    body = _BatchBody(
        success=True,
        request_id=request_id,
        accepted=counts.accepted,
        duplicates=counts.duplicates,
        conflicts=counts.conflicts,
        rejected=counts.rejected,
        results=results,
    )
    return Reply(200, _ENCODER.encode(body))


def event_accepted(request_id: str, verdicts: Accepted) -> Reply:
    """Return the answer to one event that is new: most are, so it is put together from bytes."""
    verdict = verdicts.on_the_wire()[_VERDICT]
    return Reply(200, b'{"success":true,"request_id":"%b",%b' % (request_id.encode(), verdict))


def event_processed(request_id: str, verdict: Verdict) -> Reply:
    """Return the answer to one event: 400 when it was rejected."""
    if verdict.status is Outcome.REJECTED:
        assert verdict.code is not None  # noqa: S101 - a rejection has its reason
        error = _ErrorBody(
            verdict.code,
            verdict.message or "",
            request_id,
            event_id=verdict.event_id,
            field=verdict.field,
        )
        return Reply(_EVENT_FAULT_STATUS, _ENCODER.encode(error), code=verdict.code)
    body = _EventBody(
        success=True,
        request_id=request_id,
        event_id=verdict.event_id,
        status=verdict.status,
        code=verdict.code,
        message=verdict.message,
    )
    return Reply(200, _ENCODER.encode(body), code=verdict.code)


def refused(request_id: str, refusal: Refusal) -> Reply:
    """Return the answer to a request that was refused as a whole."""
    details = dict(refusal.details)
    allow = details.pop("allow", None)
    fault = FAULTS.get(refusal.reason) or Fault(_EVENT_FAULT_STATUS, refusal.message)
    error = msgspec.convert(
        {"code": refusal.reason, "message": refusal.message, "request_id": request_id} | details,
        _ErrorBody,
    )
    headers = [_JSON]
    if fault.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % fault.retry_after_s))
    if allow is not None:
        headers.append((b"allow", str(allow).encode("ascii")))
    if fault.status == 401:  # noqa: PLR2004 - RFC 9110 wants the challenge with it
        headers.append((b"www-authenticate", b'Bearer realm="forebay"'))
    return Reply(fault.status, _ENCODER.encode(error), tuple(headers), refusal.reason)


def report(status: int, content: object) -> Reply:
    """Return *content* as JSON."""
    return Reply(status, _ENCODER.encode(content))
