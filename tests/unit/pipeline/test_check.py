"""
The checks of the events of a request: a row or a rejection for each.

If these tests fail: invalid events are stored, or valid ones are rejected.
"""

import hashlib
import json
import re
from itertools import pairwise

import pytest

from service._native import RowIds
from service.model import AcceptedVerdicts
from service.pipeline.check import scan
from service.reasons import Reason, RefusedError
from tests.doubles import NOON, Sender, make_body, make_event, make_key
from tests.pgcopy import HEADER, TRAILER, read_copy
from tests.unit.pipeline.checked import accepted, only, rejected

GOOD = {"type": "page"}
BAD = {"type": "nope"}
DOCUMENTS = ("properties", "traits", "context", "extra")


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_verdicts_stand_in_the_order_of_the_input(sender: Sender) -> None:
    checked = sender.check(GOOD | {"event_id": "a"}, BAD, GOOD | {"event_id": "c"}, BAD)

    verdicts = checked.complete(AcceptedVerdicts(checked.payload.events))

    assert ["accepted", "rejected", "accepted", "rejected"] == [v.status for v in verdicts]
    assert ["a", None, "c", None] == [v.event_id for v in verdicts]
    assert [None, Reason.INVALID_TYPE] * 2 == [v.code for v in verdicts]


def test_a_row_has_tenant_workspace_and_arrival() -> None:
    key = make_key(tenant_id=3, workspace_id=5)
    sender = Sender(key)
    body = make_body([make_event("a")])

    events = sender.check_body(body, schema_version="2.1").payload.events

    row, columns = only(events.all()), only(read_copy(events.copy_data()))
    assert (3, 5, key.key_id, 1) == (row.tenant_id, row.workspace_id, row.key_id, row.request_id)
    assert (3, 5, "2.1", 1, NOON, NOON) == tuple(
        columns[name]
        for name in (
            *("tenant_id", "workspace_id", "schema_version", "request_id"),
            *("received_at", "timestamp"),
        )
    )
    assert hashlib.sha256(b"a").digest()[:16] == row.event_key
    assert (key.key_id, sender.clock.unix_us()) == (events.key_id, events.received_at_us)


def test_the_size_of_a_payload_is_what_its_rows_take(sender: Sender) -> None:
    checked = sender.check(make_event("a", properties={"x": "y" * 1_000}), BAD)

    events, (refused,) = checked.payload.events, checked.payload.rejected
    copied = len(events.copy_data()) - len(HEADER) - len(TRAILER)
    contents = sum(len(row.content) for row in events.all())
    assert copied + contents == events.size_bytes
    assert events.size_bytes + len(refused.payload) == checked.payload.size_bytes


def test_every_field_is_in_its_column(sender: Sender) -> None:
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
        name: row[name] for name in (*texts, "previous_id")
    }
    documents = tuple(row[name] for name in DOCUMENTS)
    assert documents == (b'{"p":1}', b'{"t":2}', b'{"c":3}', b'{"plan":"pro"}')


def test_a_missing_field_is_none(sender: Sender) -> None:
    row = accepted(sender, GOOD | {"properties": None})

    assert [None] * 4 == [row[name] for name in DOCUMENTS]
    assert (None, None) == (row["original_timestamp"], row["sent_at"])


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

    own = ("id", "request_id")
    assert {name: one[name] for name in one if name not in own} == {
        name: other[name] for name in other if name not in own
    }


def test_two_spellings_that_differ_are_ambiguous(sender: Sender) -> None:
    row = rejected(sender, GOOD | {"user_id": "u", "userId": "v"})

    assert (Reason.AMBIGUOUS_FIELD, "userId") == (row.code, row.field)


def test_an_absent_id_is_minted(sender: Sender) -> None:
    rows = sender.rows(GOOD, GOOD | {"event_id": ""}, GOOD | {"messageId": None}).all()

    minted = [row.event_id for row in rows]
    assert all(re.fullmatch("[0-9a-z]{20}", event_id) for event_id in minted)
    assert 3 == len(set(minted)) == len({row.event_key for row in rows})


def test_a_minted_id_does_not_follow_from_its_row_id() -> None:
    """A row id that repeats in another process must not repeat an event id."""
    one, other = (Sender(ids=RowIds(1, bytes([number]) * 32)) for number in range(2))

    assert one.row().id == other.row().id
    assert one.row().event_id != other.row().event_id


def test_row_ids_rise(sender: Sender) -> None:
    ids = [*sender.rows(GOOD, GOOD).ids, *sender.rows(GOOD).ids]

    assert sorted(set(ids)) == ids


def test_each_worker_has_row_ids_and_minted_ids_of_its_own() -> None:
    """As far apart as random ones: none reaches where another one began."""
    rows = [Sender().row() for _ in range(4)]

    ids = sorted(row.id for row in rows)
    assert min(after - before for before, after in pairwise(ids)) > 2**32
    assert 4 == len({row.event_id for row in rows})


def test_a_refused_event_takes_an_id_of_its_own(sender: Sender) -> None:
    payload = sender.check(GOOD, BAD, GOOD).payload

    first, third = payload.events.ids
    assert first < only(payload.rejected).id < third


def test_the_content_is_hashed_with_its_workspace() -> None:
    event = make_event("a")
    one, other = (Sender(make_key(workspace_id=number)).row("a") for number in (1, 2))
    again = Sender(make_key(workspace_id=1)).rows(event).all()[0]

    assert one.payload_hash == again.payload_hash
    assert one.payload_hash != other.payload_hash


def test_arrival_and_version_are_no_content(sender: Sender) -> None:
    first = accepted(sender, make_event("a", sentAt="2026-03-01T11:00:00Z"))
    sender.clock.advance(60)
    second = accepted(
        sender, make_event("a", sentAt="2026-03-01T11:01:00Z"), context={"library": "x"}
    )

    assert first["payload_hash"] == second["payload_hash"]
    assert first["context"] != second["context"]


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
    with pytest.raises(RefusedError) as caught:
        scan(body, None, 50)

    assert reason == caught.value.reason


# --- quarantine ---


def test_a_rejected_event_is_kept_as_json_that_can_be_sent_again(sender: Sender) -> None:
    sent = make_event(
        "e1", sentAt="2026-02-01", timestamp="1969-01-01", properties={"a": [1]}, plan="pro"
    )

    row = rejected(sender, sent)

    kept = json.loads(row.payload)
    assert Reason.INVALID_TIMESTAMP == row.code
    assert sent == kept
    assert [] == sender.check(kept | {"timestamp": "2026-01-01"}).payload.rejected


@pytest.mark.parametrize(
    ("fault", "field", "reason"),
    [
        (b'"type" : "nope"', "type", Reason.INVALID_TYPE),
        (b'"type" : "page", "timestamp":"soon"', "timestamp", Reason.INVALID_TIMESTAMP),
        (b'"type" : "page", "timestamp":"2030-01-01"', "timestamp", Reason.INVALID_TIMESTAMP),
    ],
)
def test_a_refused_event_is_kept_as_sent_but_for_its_key(
    sender: Sender, fault: bytes, field: str, reason: Reason
) -> None:
    body = b'{"batch":[{ %b, "writeKey":"secret", "messageId":"e1" }]}' % fault

    row = only(sender.check_body(body).payload.rejected)

    assert b'{ %b, "writeKey":"***", "messageId":"e1" }' % fault == row.payload
    assert ("e1", reason, field) == (row.event_id, row.code, row.field)


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
def test_values_that_postgresql_cannot_store_are_rejected(sender: Sender, member: str) -> None:
    payload = sender.check_body(f'{{"batch":[{{"type":"page",{member}}}]}}'.encode()).payload

    row = only(payload.rejected)
    texts = (row.event_id, row.field, row.message)
    assert all("\x00" not in text for text in texts if text is not None)


def test_refused_events_over_the_budget_are_answered_but_not_kept() -> None:
    sender = Sender(rows_per_minute=2)

    checked = sender.check(BAD, BAD, GOOD, BAD)

    assert (2, 1, 1) == (len(checked.payload.rejected), len(checked.payload.events), sender.dropped)
    assert [0, 1, 3] == sorted(checked.rejected)


def test_accepted_events_are_counted_by_type(sender: Sender) -> None:
    assert {"page": 2, "track": 1} == sender.check(
        GOOD, make_event(), BAD, GOOD
    ).payload.events.types


def test_the_context_of_a_batch_counts_as_often_as_its_rows_hold_it() -> None:
    events = [make_event() for _ in range(10)]
    context = {"library": {"name": "x" * 1_000}}
    plain = Sender().check(*events).payload.size_bytes

    shared = Sender().check(*events, context=context).payload.size_bytes

    assert shared - plain > 10_000
