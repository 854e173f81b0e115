"""
The closed set of names for what is refused, and what each means to the sender.

One table feeds the answer, the metric label, the docs and the alert.
"""

import enum
from typing import Final, NamedTuple


class Reason(enum.StrEnum):
    """Why a request, or one event of it, was not accepted."""

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
    INTERNAL_ERROR = "internal_error"
    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    BODY_TIMEOUT = "body_timeout"

    # One event (or, in the envelope around the events, the request)
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

    # One event that is not the first with its id
    CONTENT_DIFFERS = "content_differs"
    ID_USED_IN_OTHER_WORKSPACE = "id_used_in_other_workspace"


class Fault(NamedTuple):
    """How a refused request is answered. `retry_after_s` is set when trying again may help."""

    status: int
    message: str
    retry_after_s: int | None = None


FAULTS: Final[dict[Reason, Fault]] = {
    Reason.INVALID_REQUEST: Fault(400, "The request is not valid HTTP."),
    Reason.MALFORMED_JSON: Fault(400, "The body is not JSON."),
    Reason.BATCH_EMPTY: Fault(400, "The batch holds no event."),
    Reason.BATCH_TOO_LARGE: Fault(400, "The batch holds too many events."),
    Reason.INVALID_SCHEMA_VERSION: Fault(400, "The schema version is not accepted."),
    Reason.INVALID_ENCODING: Fault(400, "The body is not what Content-Encoding says."),
    Reason.UNAUTHORIZED: Fault(
        401,
        "No valid API key: send it as Authorization: Basic (key as user name, no password),"
        " as Authorization: Bearer, as X-API-Key, or as writeKey in the body.",
    ),
    Reason.NOT_FOUND: Fault(404, "Nothing is served here; see GET / for what is."),
    Reason.METHOD_NOT_ALLOWED: Fault(405, "This path does not take that method; see Allow."),
    Reason.PAYLOAD_TOO_LARGE: Fault(413, "The body is too large."),
    Reason.UNSUPPORTED_ENCODING: Fault(415, "The content encoding is not supported."),
    Reason.INTERNAL_ERROR: Fault(
        500, "A fault of the service; nothing is known to be stored. Send again with the same ids."
    ),
    Reason.OVERLOADED: Fault(503, "Too much is waiting to be stored; try again.", 1),
    Reason.STORE_UNAVAILABLE: Fault(
        503, "PostgreSQL cannot be asked; nothing was stored. Send again with the same ids.", 2
    ),
    Reason.OUTCOME_UNKNOWN: Fault(
        503,
        "PostgreSQL did not confirm the commit; it may have been stored."
        " Send again with the same ids: what is there already is not stored twice.",
        2,
    ),
    Reason.BODY_TIMEOUT: Fault(503, "The body did not arrive in time; try again.", 1),
}
"""A reason that is not in here (one event's) answers 400 when it stands for a whole request."""

CONFLICT_MESSAGES: Final[dict[Reason, str]] = {
    Reason.CONTENT_DIFFERS: (
        "This id belongs to a stored event with other content, which is kept."
        " Send this one again with a new id only if it is a different event."
    ),
    Reason.ID_USED_IN_OTHER_WORKSPACE: (
        "This id belongs to a stored event of another workspace of the tenant, which is kept."
        " Send this one again with a new id only if this workspace needs it too."
    ),
}


class Refusal(Exception):  # noqa: N818 - the request was refused; nothing erred
    """A whole request is refused; `reason` decides status and headers."""

    def __init__(self, reason: Reason, message: str | None = None, **details: str | int) -> None:
        """*details* (field, limit, actual, offset, allow) go into the answer."""
        super().__init__(message or FAULTS[reason].message)
        self.reason = reason
        self.message = str(self)
        self.details = details
