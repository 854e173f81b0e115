"""
Counts and log lines of rejected events and refused requests.

If these tests fail: an operator does not learn that a sender loses events, or the log fills up, or
it has a part of an event.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from service.apikey import mint
from service.model import Outcome, Verdict
from service.obs.key_labels import KEYS_MAX, MEMORY_BYTES, OTHER, KeyLabels
from service.obs.metrics import Metrics
from service.pipeline.rejects import Rejects, explanation
from service.reasons import Reason, RefusedError
from tests.doubles import FixedClock, make_key
from tests.unit.obs.test_metrics import value

COLUMNS: Final = Path(__file__).parents[3] / "native/columns.toml"
CODE: Final = Reason.MISSING_FIELD
REFUSED: Final = RefusedError(Reason.BATCH_TOO_LARGE, "Too large.", field="batch", limit=1)


class Bench:
    def __init__(self) -> None:
        self.clock = FixedClock()
        self.rejects = Rejects(
            Metrics(), KeyLabels(memoryview(bytearray(MEMORY_BYTES))), self.clock
        )
        self.key = make_key()

    def reject(self, *verdicts: Verdict) -> Sequence[Any]:
        with capture_logs() as lines:
            self.rejects.events_rejected(self.key, "request", verdicts)
        return lines

    def refuse(self, refusal: RefusedError = REFUSED) -> Sequence[Any]:
        with capture_logs() as lines:
            self.rejects.request_refused(self.key, "request", refusal)
        return lines


def rejected(code: Reason = CODE, message: str = "track needs event") -> Verdict:
    return Verdict("e", Outcome.REJECTED, code, "event", message)


def counted(name: str, key: str, code: Reason) -> float:
    return value(name, key=key, code=code)


def test_rejected_events_are_counted_by_key_and_code() -> None:
    bench = Bench()
    accepted = Verdict("a", Outcome.ACCEPTED)
    conflict = Verdict("c", Outcome.CONFLICT, Reason.CONTENT_DIFFERS, "event_id", "Different.")

    bench.reject(rejected(), accepted, rejected(), conflict)
    bench.reject(rejected())

    name, key_id = "forebay_rejected_events_total", bench.key.key_id
    assert 3 == counted(name, key_id, CODE)
    assert 1 == counted(name, key_id, Reason.CONTENT_DIFFERS)


def test_refused_requests_are_counted_by_key_and_code() -> None:
    bench = Bench()

    bench.refuse()
    bench.refuse(RefusedError(Reason.OVERLOADED))

    name, key_id = "forebay_key_refused_requests_total", bench.key.key_id
    assert 1 == counted(name, key_id, Reason.BATCH_TOO_LARGE)
    assert 1 == counted(name, key_id, Reason.OVERLOADED)


def test_the_number_of_labels_is_limited() -> None:
    bench = Bench()
    before = counted("forebay_rejected_events_total", OTHER, CODE)

    for _ in range(KEYS_MAX + 7):
        bench.key = make_key(mint())
        bench.reject(rejected())

    assert 7 == counted("forebay_rejected_events_total", OTHER, CODE) - before


def test_the_first_reject_of_a_key_and_code_in_a_minute_is_logged() -> None:
    bench = Bench()

    (line,) = bench.reject(rejected(), rejected(message="another"))
    assert {
        "event": "events_rejected",
        "log_level": "warning",
        "key_id": bench.key.key_id,
        "tenant_id": 1,
        "workspace_id": 1,
        "code": CODE,
        "field": "event",
        "message": "track needs event",
        "request_id": "request",
        "events": 2,
    } == line
    bench.clock.advance(59)
    assert [] == bench.reject(rejected())
    assert [Reason.TOO_DEEP] == [line["code"] for line in bench.reject(rejected(Reason.TOO_DEEP))]
    bench.clock.advance(2)
    assert 1 == len(bench.reject(rejected()))
    bench.key = make_key(mint())
    assert 1 == len(bench.reject(rejected()))


def test_a_refused_request_is_logged_unless_its_sender_repeats_it() -> None:
    bench = Bench()

    (line,) = bench.refuse()
    assert ("request_refused", "batch", "Too large.") == (
        line["event"],
        line["field"],
        line["message"],
    )
    assert [] == bench.refuse()
    assert [] == bench.refuse(RefusedError(Reason.OVERLOADED))
    assert 1 == len(bench.refuse(RefusedError(Reason.INVALID_TEXT, "context holds x")))


@pytest.mark.parametrize(
    ("field", "message", "expected"),
    [
        ("timestamp", 'timestamp "secret" is before 1970', "timestamp … is before 1970"),
        ("type", r'type is "a\"secret", but', "type is …, but"),
        ("event", "event is the number 4111", "event is the number …"),
        ("traits", "traits holds -1e999, whose exponent", "traits holds … whose exponent"),
        ("secret", "secret holds NaN, which is", "… holds NaN, which is"),
        ("secret", "duplicate secret in the event", "duplicate … in the event"),
        (None, "Content-Encoding 'secret' is not", "Content-Encoding … is not"),
        ("event_id", "event_id must have 1 to 200 bytes", "event_id must have 1 to 200 bytes"),
    ],
)
def test_the_log_has_no_part_of_an_event(field: str | None, message: str, expected: str) -> None:
    expected_field = "…" if field == "secret" else field

    assert (expected_field, expected) == explanation(field, message)


def test_a_logged_message_is_short() -> None:
    assert 200 == len(explanation(None, "x" * 10_000)[1])


def test_every_field_of_an_event_is_named_in_the_log() -> None:
    members = tomllib.loads(COLUMNS.read_text(encoding="utf-8"))["member"]
    names = {member["name"] for member in members}
    names |= {member["spelling"] for member in members if "spelling" in member}
    names |= {spelling for member in members for spelling in member.get("spellings", ())}

    assert names == {name for name in names if explanation(name, "")[0] == name}
