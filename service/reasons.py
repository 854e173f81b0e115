"""
The closed set of reasons for refusing a request or rejecting an event, with their answers.

Answers, log lines, the quarantine and the documentation use these names.
"""

import enum
from typing import Final, NamedTuple


class Reason(enum.StrEnum):
    """Why a request was refused, or one of its events was not accepted."""

    # The whole request
    INVALID_REQUEST = "invalid_request"
    MALFORMED_JSON = "malformed_json"
    BATCH_EMPTY = "batch_empty"
    BATCH_TOO_LARGE = "batch_too_large"
    INVALID_SCHEMA_VERSION = "invalid_schema_version"
    INVALID_ENCODING = "invalid_encoding"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    BODY_TIMEOUT = "body_timeout"

    # One event. In the envelope around the events: the whole request
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    AMBIGUOUS_FIELD = "ambiguous_field"
    INVALID_EVENT = "invalid_event"
    INVALID_TYPE = "invalid_type"
    INVALID_EVENT_ID = "invalid_event_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    INVALID_NUMBER = "invalid_number"
    INVALID_TEXT = "invalid_text"
    TOO_DEEP = "too_deep"
    STORE_REFUSED = "store_refused"

    # One event whose id is already stored
    CONTENT_DIFFERS = "content_differs"
    ID_USED_IN_OTHER_WORKSPACE = "id_used_in_other_workspace"


class ErrorResponse(NamedTuple):
    """The answer to a refused request. `retry_after_s` is set if a retry may succeed."""

    status: int
    message: str
    retry_after_s: int | None = None


ERROR_RESPONSES: Final[dict[Reason, ErrorResponse]] = {
    Reason.INVALID_REQUEST: ErrorResponse(400, "The request is not valid HTTP."),
    Reason.MALFORMED_JSON: ErrorResponse(400, "The body is not JSON."),
    Reason.BATCH_EMPTY: ErrorResponse(400, "The batch contains no event."),
    Reason.BATCH_TOO_LARGE: ErrorResponse(400, "The batch contains too many events."),
    Reason.INVALID_SCHEMA_VERSION: ErrorResponse(400, "The schema version is not accepted."),
    Reason.INVALID_ENCODING: ErrorResponse(
        400, "The body is not encoded as Content-Encoding says."
    ),
    Reason.UNAUTHORIZED: ErrorResponse(
        401,
        "No valid API key: send it as Authorization: Basic (key as user name, no password),"
        " as Authorization: Bearer, as X-API-Key, or as writeKey in the body.",
    ),
    Reason.NOT_FOUND: ErrorResponse(404, "No such path. GET / lists the paths."),
    Reason.METHOD_NOT_ALLOWED: ErrorResponse(
        405, "This path does not support the method; see Allow."
    ),
    Reason.PAYLOAD_TOO_LARGE: ErrorResponse(413, "The body is too large."),
    Reason.UNSUPPORTED_ENCODING: ErrorResponse(415, "The content encoding is not supported."),
    Reason.RATE_LIMITED: ErrorResponse(
        429, "The key has sent more events per second than it may; try again.", 1
    ),
    Reason.INTERNAL_ERROR: ErrorResponse(
        500, "Internal error; events may or may not be stored. Send again with the same ids."
    ),
    Reason.OVERLOADED: ErrorResponse(
        503, "Too many events are waiting to be stored; try again.", 1
    ),
    Reason.STORE_UNAVAILABLE: ErrorResponse(
        503, "PostgreSQL is unavailable; nothing was stored. Send again with the same ids.", 2
    ),
    Reason.OUTCOME_UNKNOWN: ErrorResponse(
        503,
        "PostgreSQL did not confirm the commit; events may or may not be stored."
        " Send again with the same ids: no event is stored twice.",
        2,
    ),
    Reason.BODY_TIMEOUT: ErrorResponse(503, "The body did not arrive in time; try again.", 1),
}
"""Reasons that are not in this table are answered with 400 when they apply to a whole request."""

CONFLICT_MESSAGES: Final[dict[Reason, str]] = {
    Reason.CONTENT_DIFFERS: (
        "An event with this id and different content is already stored; it was not changed."
        " Send this event again with a new id only if it is a different event."
    ),
    Reason.ID_USED_IN_OTHER_WORKSPACE: (
        "An event with this id is already stored in another workspace of the tenant."
        " Send this event again with a new id only if this workspace needs it too."
    ),
}


class RefusedError(Exception):
    """A whole request is refused. `reason` determines status and headers of the answer."""

    def __init__(self, reason: Reason, message: str | None = None, **details: str | int) -> None:
        """
        *details* (field, limit, actual, offset, profile, allow) are part of the answer.

        `retry_after_s` among them replaces the one of the reason.
        """
        super().__init__(message or ERROR_RESPONSES[reason].message)
        self.reason = reason
        self.message = str(self)
        self.details = details
