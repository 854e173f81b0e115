"""What becomes of each event of a request: a row, or a reason."""

import json
from datetime import timedelta
from typing import Any

import pytest

from service import _native
from service.model import EventRow, Outcome, RejectedRow, Verdict
from service.pipeline.check import BATCH_CONTEXT_BYTES_MAX, Arrival, Checker, scan
from service.pipeline.quarantine import QuarantineBudget
from service.reasons import Reason, Refusal
from service.testing import NOON, FixedClock, Sender, make_body, make_event, make_key

GOOD = {"type": "page"}
BAD = {"type": "nope"}


@pytest.fixture
def sender() -> Sender:
    return Sender()


def only(rows: list[Any]) -> Any:
    (row,) = rows
    return row


def rejected(sender: Sender, event: Any, **envelope: Any) -> RejectedRow:
    payload = sender.check(event, **envelope).payload
    assert payload.events == []
    row: RejectedRow = only(payload.rejected)
    return row


def accepted(sender: Sender, event: Any, **envelope: Any) -> EventRow:
    payload = sender.check(event, **envelope).payload
    assert payload.rejected == []
    row: EventRow = only(payload.events)
    return row


def test_verdicts_stand_in_the_order_of_the_input(sender: Sender) -> None:
    checked = sender.check(GOOD | {"event_id": "a"}, BAD, GOOD | {"event_id": "c"}, BAD)
    stored = [Verdict(row.event_id, Outcome.ACCEPTED) for row in checked.payload.events]

    verdicts = checked.complete(stored)

    assert ["accepted", "rejected", "accepted", "rejected"] == [v.status for v in verdicts]
    assert ["a", None, "c", None] == [v.event_id for v in verdicts]
    assert [None, Reason.INVALID_TYPE] * 2 == [v.code for v in verdicts]


def test_a_row_carries_whose_it_is_and_when_it_came() -> None:
    key = make_key(tenant_id=3, workspace_id=5)
    sender = Sender(key)
    body = make_body([make_event("a")])

    row = only(sender.check_body(body, schema_version="2.1").payload.events)

    assert (3, 5, key.key_id) == (row.tenant_id, row.workspace_id, row.key_id)
    assert ("2.1", 1, NOON, NOON) == (
        row.schema_version,
        row.request_id,
        row.received_at,
        row.timestamp,
    )
    assert _native.event_key("a") == row.event_key
    assert len(body) == sender.check_body(body).payload.size_bytes


def test_every_field_finds_its_place(sender: Sender) -> None:
    event = {
        "type": "track",
        "event": "Signed Up",
        "name": "n",
        "category": "c",
        "user_id": "u",
        "anonymous_id": "a",
        "group_id": "g",
        "previous_id": "p",
        "properties": {"p": 1},
        "traits": {"t": 2},
        "context": {"c": 3},
        "plan": "pro",
    }

    row = accepted(sender, event)

    texts = ("type", "event", "name", "category", "user_id", "anonymous_id", "group_id")
    assert {name: event[name] for name in (*texts, "previous_id")} == {
        name: getattr(row.raw, name) for name in (*texts, "previous_id")
    }
    documents = (row.properties, row.traits, row.context, row.extra)
    assert documents == (b'{"p":1}', b'{"t":2}', b'{"c":3}', b'{"plan":"pro"}')


def test_what_is_absent_is_none(sender: Sender) -> None:
    row = accepted(sender, GOOD | {"properties": None})

    assert [None] * 4 == [row.properties, row.traits, row.context, row.extra]
    assert (None, None) == (row.original_timestamp, row.sent_at)


def test_both_spellings_are_the_same_event(sender: Sender) -> None:
    snake = {
        "event_id": "e",
        "user_id": "u",
        "anonymous_id": "a",
        "group_id": "g",
        "previous_id": "p",
        "sent_at": "2026-03-01",
        "original_timestamp": "2026-02-28",
    }
    camel = {
        "messageId": "e",
        "userId": "u",
        "anonymousId": "a",
        "groupId": "g",
        "previousId": "p",
        "sentAt": "2026-03-01",
        "originalTimestamp": "2026-02-28",
    }

    one, other = (accepted(sender, GOOD | spelling) for spelling in (snake, camel))

    assert one.payload_hash == other.payload_hash
    assert (one.raw, one.event_id, one.sent_at) == (other.raw, other.event_id, other.sent_at)


def test_two_spellings_that_differ_are_ambiguous(sender: Sender) -> None:
    row = rejected(sender, GOOD | {"user_id": "u", "userId": "v"})

    assert (Reason.AMBIGUOUS_FIELD, "userId") == (row.code, row.field)


def test_an_absent_id_is_minted_from_the_row(sender: Sender) -> None:
    rows = sender.rows(GOOD, GOOD | {"event_id": ""}, GOOD | {"messageId": None})

    assert [_native.base36_encode(row.id) for row in rows] == [row.event_id for row in rows]
    assert 3 == len({row.event_key for row in rows})


def test_row_ids_rise_and_name_their_worker() -> None:
    sender = Sender(worker=9)
    rows = [*sender.rows(GOOD, GOOD), *sender.rows(GOOD)]

    assert sorted({row.id for row in rows}) == [row.id for row in rows]
    assert {9} == {_native.row_id_parts(row.id)[1] for row in rows}


def test_the_content_is_hashed_with_its_workspace() -> None:
    event = make_event("a")
    one, other = (Sender(make_key(workspace_id=number)).row("a") for number in (1, 2))
    again = Sender(make_key(workspace_id=1)).rows(event)[0]

    assert one.payload_hash == again.payload_hash
    assert one.payload_hash != other.payload_hash


def test_when_and_how_an_event_came_is_no_content(sender: Sender) -> None:
    first = accepted(sender, make_event("a", sentAt="2026-03-01T11:00:00Z"))
    sender.clock.advance(60)
    second = accepted(
        sender, make_event("a", sentAt="2026-03-01T11:01:00Z"), context={"library": "x"}
    )

    assert first.payload_hash == second.payload_hash


def test_a_worker_without_a_number_stores_nothing() -> None:
    checker = Checker(QuarantineBudget(FixedClock(), 1, lambda _: None))
    arrival = Arrival(make_key(), 1, "1.0", NOON)
    scanned = scan(make_body([GOOD]), None, 50)
    with pytest.raises(Refusal) as before:
        checker.check(scanned, arrival, 1)

    checker.lease(1)
    checker.check(scanned, arrival, 1)
    checker.release()
    with pytest.raises(Refusal) as after:
        checker.check(scanned, arrival, 1)

    assert [Reason.STORE_UNAVAILABLE] * 2 == [before.value.reason, after.value.reason]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.MALFORMED_JSON),
        (b"{", Reason.MALFORMED_JSON),
        (b"\xff", Reason.MALFORMED_JSON),
        (b"[]", Reason.MALFORMED_JSON),
        (b"{}", Reason.MISSING_FIELD),
        (b'{"batch":{}}', Reason.INVALID_FIELD),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_as_a_whole(body: bytes, reason: Reason) -> None:
    with pytest.raises(Refusal) as caught:
        scan(body, None, 50)

    assert reason == caught.value.reason


# --- context ---


def test_a_batchs_context_is_under_that_of_its_events(sender: Sender) -> None:
    plain, own = sender.check(
        GOOD, GOOD | {"context": {"ip": "2"}}, context={"ip": "1", "os": "x"}
    ).payload.events

    assert {"ip": "1", "os": "x"} == json.loads(plain.context or b"")
    assert {"ip": "2", "os": "x"} == json.loads(own.context or b"")


def test_a_context_that_all_would_share_has_a_limit(sender: Sender) -> None:
    frame = len(b'{"a":""}')
    largest = {"a": "x" * (BATCH_CONTEXT_BYTES_MAX - frame)}
    row = accepted(sender, GOOD, context=largest)
    assert BATCH_CONTEXT_BYTES_MAX == len(row.context or b"")

    with pytest.raises(Refusal) as caught:
        sender.check(GOOD, context={"a": largest["a"] + "x"})

    assert Reason.INVALID_FIELD == caught.value.reason
    assert caught.value.details == {
        "field": "context",
        "limit": BATCH_CONTEXT_BYTES_MAX,
        "actual": BATCH_CONTEXT_BYTES_MAX + 1,
    }


@pytest.mark.parametrize("context", [{"a": "\x00"}, {"\x00": 1}, {"a": "\udfff"}])
def test_a_shared_context_that_postgresql_would_refuse_is_refused(
    sender: Sender, context: dict[str, Any]
) -> None:
    body = json.dumps({"batch": [GOOD], "context": context}).encode()

    with pytest.raises(Refusal):
        sender.check_body(body)


def test_the_deepest_contexts_allowed_can_be_merged(sender: Sender) -> None:
    deep = '{"a":' * 30 + "1" + "}" * 30
    body = f'{{"batch":[{{"type":"page","context":{deep}}}],"context":{deep}}}'

    row = only(sender.check_body(body.encode()).payload.events)

    assert json.loads(deep) == json.loads(row.context)


# --- times ---


def test_a_wrong_clock_is_corrected_by_the_sending_of_the_event(sender: Sender) -> None:
    row = accepted(
        sender,
        GOOD | {"timestamp": "2026-03-02T11:00:00Z", "sentAt": "2026-03-02T12:00:00Z"},
        sentAt="1999-01-01",
    )

    assert NOON - timedelta(hours=1) == row.timestamp
    assert NOON + timedelta(days=1) == row.sent_at
    assert NOON + timedelta(hours=23) == row.original_timestamp


def test_else_it_is_corrected_by_the_sending_of_the_batch(sender: Sender) -> None:
    row = accepted(
        sender, GOOD | {"timestamp": "2026-03-02T11:00:00Z"}, sentAt="2026-03-02T12:00:00Z"
    )

    assert (NOON - timedelta(hours=1), NOON + timedelta(days=1)) == (row.timestamp, row.sent_at)


def test_the_original_time_counts_where_there_is_no_other(sender: Sender) -> None:
    only_original = accepted(sender, GOOD | {"originalTimestamp": "2026-02-01"})
    both = accepted(sender, GOOD | {"originalTimestamp": "2026-02-01", "timestamp": "2026-02-02"})

    assert only_original.original_timestamp == only_original.timestamp
    assert timedelta(days=1) == both.timestamp - only_original.timestamp
    assert both.original_timestamp == only_original.timestamp


def test_24_hours_ahead_are_counted_by_the_corrected_time(sender: Sender) -> None:
    far = GOOD | {"timestamp": "2030-01-01T00:00:00Z"}

    assert Reason.INVALID_TIMESTAMP == rejected(sender, far).code
    assert NOON == accepted(sender, far | {"sentAt": far["timestamp"]}).timestamp


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"timestamp": "1969-12-31"}, "timestamp"),
        ({"timestamp": "10000-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": "9999-12-31T23:59:59-23:59"}, "timestamp"),
        ({"timestamp": "9999-12-31", "sentAt": "1970-01-01"}, "timestamp"),
        ({"timestamp": "1970-01-01", "sentAt": "2027-01-01"}, "timestamp"),
        ({"timestamp": "soon"}, "timestamp"),
        ({"originalTimestamp": "soon"}, "originalTimestamp"),
        ({"sentAt": "soon"}, "sentAt"),
    ],
)
def test_an_event_at_an_impossible_time_costs_only_itself(
    sender: Sender, event: dict[str, str], field: str
) -> None:
    payload = sender.check(GOOD, GOOD | {"event_id": "x"} | event, GOOD).payload

    row = only(payload.rejected)
    assert (Reason.INVALID_TIMESTAMP, field, "x") == (row.code, row.field, row.event_id)
    assert 2 == len(payload.events)


def test_a_batch_sent_at_no_time_is_refused_as_a_whole(sender: Sender) -> None:
    with pytest.raises(Refusal) as caught:
        sender.check(GOOD, sentAt="soon")

    assert (Reason.INVALID_TIMESTAMP, "sentAt") == (
        caught.value.reason,
        caught.value.details["field"],
    )


# --- quarantine ---


def test_a_rejected_event_is_kept_as_json_that_can_be_sent_again(sender: Sender) -> None:
    sent = make_event(
        "e1", sentAt="2026-02-01", timestamp="1969-01-01", properties={"a": [1]}, plan="pro"
    )

    row = rejected(sender, sent)

    kept = json.loads(row.payload)
    assert Reason.INVALID_TIMESTAMP == row.code
    assert kept == {name: sent[name] for name in sent if name != "sentAt"} | {
        "sent_at": "2026-02-01"
    }
    assert [] == sender.check(kept | {"timestamp": "2026-01-01"}).payload.rejected


def test_an_event_that_the_core_refuses_is_kept_as_sent_but_for_its_key(sender: Sender) -> None:
    body = b'{"batch":[{ "type" : "nope", "writeKey":"secret", "event_id":"e1" }]}'

    row = only(sender.check_body(body).payload.rejected)

    assert b'{ "type" : "nope", "writeKey":"***", "event_id":"e1" }' == row.payload
    assert ("e1", Reason.INVALID_TYPE, "type") == (row.event_id, row.code, row.field)


def test_no_text_of_a_rejected_row_holds_a_nul(sender: Sender) -> None:
    body = rb'{"batch":[{"type":"page","a\u0000b":1,"a\u0000b":2}]}'

    row = only(sender.check_body(body).payload.rejected)

    assert Reason.INVALID_TEXT == row.code
    assert "\x00" not in f"{row.field}{row.message}"


@pytest.mark.parametrize(
    "member",
    [
        '"event_id":"\\u0000"',
        '"user_id":"\\u0000"',
        '"name":"a\\u0000"',
        '"timestamp":"\\u0000"',
        '"sentAt":"\\u0000"',
        '"properties":{"a":"\\u0000"}',
        '"traits":{"\\u0000":1}',
        '"context":{"a":["\\u0000"]}',
        '"extra":"\\u0000"',
        '"type":"\\u0000"',
        '"properties":{"a":1e400000}',
        '"properties":{"a":"\\ud800"}',
    ],
)
def test_what_postgresql_cannot_hold_is_found_before(sender: Sender, member: str) -> None:
    payload = sender.check_body(f'{{"batch":[{{"type":"page",{member}}}]}}'.encode()).payload

    row = only(payload.rejected)
    texts = (row.event_id, row.field, row.message)
    assert all("\x00" not in text for text in texts if text is not None)


def test_refused_events_over_the_budget_are_answered_but_not_kept() -> None:
    sender = Sender(rows_per_minute=2)

    checked = sender.check(BAD, BAD, GOOD, BAD)

    assert (2, 1, 1) == (len(checked.payload.rejected), len(checked.payload.events), sender.dropped)
    assert 3 == sum(verdict is not None for verdict in checked.verdicts)


def test_accepted_events_are_counted_by_type(sender: Sender) -> None:
    assert {"page": 2, "track": 1} == sender.check(GOOD, make_event(), BAD, GOOD).types


def test_the_context_of_a_batch_counts_as_often_as_its_rows_hold_it() -> None:
    events = [make_event() for _ in range(10)]
    context = {"library": {"name": "x" * 1_000}}
    plain = Sender().check(*events).payload.size_bytes

    shared = Sender().check(*events, context=context).payload.size_bytes

    assert shared - plain > 10_000
