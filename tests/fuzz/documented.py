"""What docs/api/ingestion.md says about every answer, as a check."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from service.reasons import ERROR_RESPONSES, Reason

RequestId = Annotated[str, Meta(pattern=r"^[0-9a-z]{13}$")]
Count = Annotated[int, Meta(ge=0)]

# An internal error is a bug, so that no fuzzer may cause one.
_STATUSES: Final = {
    reason.value: ERROR_RESPONSES[reason].status if reason in ERROR_RESPONSES else 400
    for reason in Reason
    if reason is not Reason.INTERNAL_ERROR
}
_RETRYABLE: Final = {429, 503}
_WHOLE_SECONDS: Final = re.compile(r"[1-9][0-9]*")
_TYPES: Final = "track|identify|page|screen|group|alias"
_INGEST: Final = re.compile(
    rf"/v1/({_TYPES}|[tipsga]|batch|import|b)/?|/api/s/(s2s/)?({_TYPES})/?|/beacon/v1/batch/?"
)
_REPORTS: Final = ("/", "/health", "/health/live", "/health/ready")
_DOCUMENT: Final = re.compile(r"/v1/projects/[^/]+/settings/?|/sourceConfig/?")
_CLIENT_METRICS: Final = re.compile("/v1/m/?")
_PREFLIGHT_OF: Final = "access-control-request-method"

Headers = list[tuple[str, str]]
"""Names in lower case."""


class Result(msgspec.Struct, forbid_unknown_fields=True):
    """The result for one event of a batch."""

    event_id: str | None
    status: Literal["accepted", "duplicate", "conflict", "rejected"]
    code: Reason | None = None
    field: str | None = None
    message: str | None = None


class BatchAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to a batch that was processed."""

    success: Literal[True]
    request_id: RequestId
    accepted: Count
    duplicates: Count
    conflicts: Count
    rejected: Count
    results: list[Result]


class EventAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to one event that was not rejected."""

    success: Literal[True]
    request_id: RequestId
    event_id: str
    status: Literal["accepted", "duplicate", "conflict"]
    code: Reason | None = None
    message: str | None = None


class ErrorAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to a refused request or a rejected event."""

    code: Reason
    message: Annotated[str, Meta(min_length=1)]
    request_id: RequestId
    event_id: str | None = None
    field: str | None = None
    limit: int | None = None
    actual: int | str | None = None
    offset: Count | None = None
    profile: Literal["default", "segment", "rudderstack"] | None = None


def is_ingest(path: str) -> bool:
    """Whether *path* accepts events."""
    return _INGEST.fullmatch(path) is not None


def results_in(status: int, body: bytes) -> list[Result]:
    """Return the results in an answer of a path that accepts events; none in an error."""
    if status != 200 or b'"success"' not in body:
        return []
    if b'"results"' in body:
        return msgspec.json.decode(body, type=BatchAnswer).results
    one = msgspec.json.decode(body, type=EventAnswer)
    return [Result(one.event_id, one.status, one.code, None, one.message)]


def check_answer(status: int, headers: Headers, body: bytes, *, is_head: bool = False) -> None:
    """Check one answer, without the request; *is_head*: it is the answer to a HEAD request."""
    for name, value in headers:
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        assert not re.search(r"[\r\n\0]", value), (name, value)
    known = dict(headers)
    once = [name for name, _ in headers if name not in {"vary", "set-cookie"}]
    assert len(once) == len(set(once)), f"a header twice: {headers}"
    assert re.fullmatch("[0-9a-z]{13}", known["x-request-id"]), headers
    if status == 204:
        assert body == b""
        return
    if is_head:
        assert body == b""
        return
    assert known["content-type"] == "application/json", headers
    assert int(known["content-length"]) == len(body)
    content = msgspec.json.decode(body)
    if status == 200:
        _check_processed(content, body)
    elif "code" in content:
        _check_error(status, known, body)
    else:
        assert (status, content["status"]) == (503, "not ready"), body
    assert content.get("request_id", known["x-request-id"]) == known["x-request-id"]


def check_cors(origin: str | None, headers: Headers) -> None:
    """Check that a page of any origin can read an answer."""
    known = dict(headers)
    if origin is not None:
        assert known["access-control-allow-origin"] == "*", headers
        exposed = known["access-control-expose-headers"].split(", ")
        assert exposed == ["Retry-After", "X-Request-Id"]
    else:
        assert "access-control-allow-origin" not in known, headers
    assert "access-control-allow-credentials" not in known


def check_status(method: str, path: str, asked: Headers, status: int, headers: Headers) -> None:
    """Check that *status* is one that the path and the method can have; *asked*: the headers."""
    is_document, is_report = _DOCUMENT.fullmatch(path) is not None, path in _REPORTS
    is_metrics = _CLIENT_METRICS.fullmatch(path) is not None
    is_known = is_ingest(path) or is_document or is_report or is_metrics
    if method == "OPTIONS" and (is_known or _PREFLIGHT_OF in dict(asked)):
        allowed = {204}
    elif not is_known:
        allowed = {404}
    elif is_ingest(path) and method == "POST":
        allowed = {200, *_STATUSES.values()} - {404, 405}
    elif is_metrics and method == "POST":
        allowed = {200, 400, 413, 415, 503}
    elif is_document and method in {"GET", "HEAD"}:
        allowed = {200, 400, 401, 503}
    elif is_report and method in {"GET", "HEAD"}:
        allowed = {200, 503}
    else:
        allowed = {405}
    assert status in allowed, (method, path, status)
    if status == 405:
        assert method not in dict(headers)["allow"].split(", ")


def _check_processed(content: dict[str, Any], body: bytes) -> None:
    if "results" in content:
        answer = msgspec.json.decode(body, type=BatchAnswer)
        statuses: list[str] = [result.status for result in answer.results]
        counts = (answer.accepted, answer.duplicates, answer.conflicts, answer.rejected)
        named = ("accepted", "duplicate", "conflict", "rejected")
        assert counts == tuple(statuses.count(name) for name in named), body
        for result in answer.results:
            assert (result.code is None) == (result.status in {"accepted", "duplicate"}), body
            assert (result.message is None) == (result.code is None), body
    elif "success" in content and content != {"success": True}:
        msgspec.json.decode(body, type=EventAnswer)


def _check_error(status: int, known: dict[str, str], body: bytes) -> None:
    error = msgspec.json.decode(body, type=ErrorAnswer)
    assert _STATUSES.get(error.code) == status, body
    if status in _RETRYABLE:
        assert _WHOLE_SECONDS.fullmatch(known["retry-after"]), known
    else:
        assert "retry-after" not in known
    assert ("allow" in known) == (status == 405), known
    assert ("www-authenticate" in known) == (status == 401), known
