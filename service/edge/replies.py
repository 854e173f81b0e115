"""Answers as bytes. Only this file turns a reason into status, headers and body."""

from collections.abc import Sequence
from typing import Final

import msgspec

from service.model import AcceptedVerdicts, Outcome, Verdict
from service.pipeline.ingest import Counts, Request
from service.reasons import ERROR_RESPONSES, ErrorResponse, Reason, RefusedError

Header = tuple[bytes, bytes]

_JSON: Final[Header] = (b"content-type", b"application/json")
_EVENT_REJECTED_STATUS: Final = 400
_ENCODER: Final = msgspec.json.Encoder()
# In a JSON array of one object: the members of the object and its closing brace.
_MEMBERS: Final = slice(len("[{"), -len("]"))


# The body of the answer 401 up to its request id, and its headers; RFC 9110 requires a challenge.
_UNAUTHORIZED_START: Final = _ENCODER.encode(
    {"code": Reason.UNAUTHORIZED, "message": ERROR_RESPONSES[Reason.UNAUTHORIZED].message}
).removesuffix(b"}")
_UNAUTHORIZED_HEADERS: Final = (_JSON, (b"www-authenticate", b'Bearer realm="forebay"'))


class Reply(msgspec.Struct, frozen=True):
    """An answer. `code`: why the request was refused, or why its event was not accepted."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)
    code: Reason | None = None


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
    profile: str | None = None


def processed(request: Request, verdicts: Sequence[Verdict]) -> Reply:
    """Return the answer to a request whose events have *verdicts*."""
    assert request.counts is not None  # noqa: S101 - set with the verdicts
    if request.event_type is None:
        return batch_processed(request.id_text, request.counts, verdicts)
    if isinstance(verdicts, AcceptedVerdicts):
        return event_accepted(request.id_text, verdicts)
    return event_processed(request.id_text, verdicts[0])


def batch_processed(request_id: str, counts: Counts, verdicts: Sequence[Verdict]) -> Reply:
    """Return the answer to a batch: one result per event, in order."""
    results = (
        msgspec.Raw(verdicts.to_json()) if isinstance(verdicts, AcceptedVerdicts) else verdicts
    )
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


def event_accepted(request_id: str, verdicts: AcceptedVerdicts) -> Reply:
    """Return the answer to one accepted event: joined from bytes, as this saves time."""
    members = verdicts.to_json()[_MEMBERS]
    return Reply(200, b'{"success":true,"request_id":"%b",%b' % (request_id.encode(), members))


def event_processed(request_id: str, verdict: Verdict) -> Reply:
    """Return the answer to one event: 400 when it was rejected."""
    if verdict.status is Outcome.REJECTED:
        assert verdict.code is not None  # noqa: S101 - a rejection has a reason
        error = _ErrorBody(
            verdict.code,
            verdict.message or "",
            request_id,
            event_id=verdict.event_id,
            field=verdict.field,
        )
        return Reply(_EVENT_REJECTED_STATUS, _ENCODER.encode(error), code=verdict.code)
    body = _EventBody(
        success=True,
        request_id=request_id,
        event_id=verdict.event_id,
        status=verdict.status,
        code=verdict.code,
        message=verdict.message,
    )
    return Reply(200, _ENCODER.encode(body), code=verdict.code)


def refused(request_id: str, refusal: RefusedError) -> Reply:
    """Return the answer to a refused request."""
    if refusal.reason is Reason.UNAUTHORIZED:
        return _unauthorized(request_id)
    details = dict(refusal.details)
    allow = details.pop("allow", None)
    response = ERROR_RESPONSES.get(refusal.reason) or ErrorResponse(
        _EVENT_REJECTED_STATUS, refusal.message
    )
    retry_after_s = details.pop("retry_after_s", response.retry_after_s)
    error = msgspec.convert(
        {"code": refusal.reason, "message": refusal.message, "request_id": request_id} | details,
        _ErrorBody,
    )
    headers = [_JSON]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode("ascii")))
    if allow is not None:
        headers.append((b"allow", str(allow).encode("ascii")))
    return Reply(response.status, _ENCODER.encode(error), tuple(headers), refusal.reason)


def _unauthorized(request_id: str) -> Reply:
    """Return the answer 401; joined from bytes, as strangers ask for it."""
    body = b'%b,"request_id":"%b"}' % (_UNAUTHORIZED_START, request_id.encode())
    return Reply(401, body, _UNAUTHORIZED_HEADERS, Reason.UNAUTHORIZED)


def report(status: int, content: object) -> Reply:
    """Return *content* as JSON."""
    return Reply(status, _ENCODER.encode(content))


def document(content: object) -> Reply:
    """Return *content* as JSON that no cache keeps: it depends on headers of the request."""
    return Reply(200, _ENCODER.encode(content), (_JSON, (b"cache-control", b"no-store")))


CLIENT_METRICS_TAKEN: Final = report(200, {"success": True})
