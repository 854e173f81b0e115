"""
What an operator learns of events that are not stored: counts by key and code, and log lines.

Users of SDKs do not see these answers (docs/decisions/0044-limits-and-rejects.md).
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog
from cachetools import TTLCache

from service.clock import Clock
from service.model import ApiKey, Verdict
from service.obs.key_labels import KeyLabels
from service.obs.metrics import Metrics
from service.reasons import ERROR_RESPONSES, Reason, RefusedError

log = structlog.get_logger()

_LOGGED_FOR_S: Final = 60
# If more pairs of key and code than this occur in a minute, those of the least recent ones may be
# logged again.
_LOGGED_MAX: Final = 10_000
_LOGGED_CHARS_MAX: Final = 200
_SERVER_ERROR: Final = 500
# What a message quotes: texts in quotation marks, and numbers behind one of these words.
_QUOTED: Final = re.compile(
    r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?<=\bnumber )\S+|(?<=\bholds )[-+.\d]\S*"""
)
_MASK: Final = "…"
# Names that a sender has not made up.
_FIELDS: Final = frozenset(
    (
        *("event_id", "messageId", "message_id", "type", "event", "user_id", "userId"),
        *("anonymous_id", "anonymousId", "group_id", "groupId", "previous_id", "previousId"),
        *("name", "category", "timestamp", "original_timestamp", "originalTimestamp"),
        *("sent_at", "sentAt", "properties", "traits", "context", "batch", "writeKey"),
        "Content-Encoding",
    )
)


class Rejects:
    """
    Counts rejected events and refused requests of keys, and logs the first ones. One per worker.

    A line is logged for the first one of a key and a code in a minute. It has the message without
    the values of the event that the message quotes.
    """

    def __init__(self, metrics: Metrics, labels: KeyLabels, clock: Clock) -> None:
        self._metrics = metrics
        self._labels = labels
        self._logged: TTLCache[tuple[str, Reason], None] = TTLCache(
            maxsize=_LOGGED_MAX, ttl=_LOGGED_FOR_S, timer=clock.monotonic
        )

    def events_rejected(self, key: ApiKey, request_id: str, verdicts: Sequence[Verdict]) -> None:
        """Note the events of a request that were rejected or are in conflict."""
        label = self._labels.label(key.key_id)
        codes = [verdict.code for verdict in verdicts]
        for code, events in Counter(codes).items():
            if code is None:
                continue
            self._metrics.events_rejected(label, code, events)
            if self._is_first(key, code):
                verdict = verdicts[codes.index(code)]
                field, message = explanation(verdict.field, verdict.message or "")
                _log(key, request_id, code, field, message, events=events)

    def request_refused(self, key: ApiKey, request_id: str, refusal: RefusedError) -> None:
        """Note a request that was refused as a whole."""
        code = refusal.reason
        self._metrics.key_refused(self._labels.label(key.key_id), code)
        response = ERROR_RESPONSES.get(code)
        # Senders repeat a request after a server error.
        is_lasting = response is None or response.status < _SERVER_ERROR
        if is_lasting and self._is_first(key, code):
            given = refusal.details.get("field")
            field, message = explanation(None if given is None else str(given), refusal.message)
            _log(key, request_id, code, field, message)

    def _is_first(self, key: ApiKey, code: Reason) -> bool:
        pair = (key.key_id, code)
        if pair in self._logged:
            return False
        self._logged[pair] = None
        return True


def explanation(field: str | None, message: str) -> tuple[str | None, str]:
    """Return *field* and *message* for the log, without what they contain of an event."""
    if field is not None and field not in _FIELDS:
        message, field = message.replace(field, _MASK), _MASK
    return field, _QUOTED.sub(_MASK, message)[:_LOGGED_CHARS_MAX]


def _log(
    key: ApiKey, request_id: str, code: Reason, field: str | None, message: str, events: int = 0
) -> None:
    """Log the first reject of a minute; *events*: 0 if the whole request was refused."""
    known = {"events": events} if events else {}
    log.warning(
        "events_rejected" if events else "request_refused",
        key_id=key.key_id,
        tenant_id=key.tenant_id,
        workspace_id=key.workspace_id,
        code=code,
        field=field,
        message=message,
        request_id=request_id,
        **known,
    )
