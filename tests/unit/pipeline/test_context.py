"""
The context of a batch is the default for the context of each of its events.

If these tests fail: analysts miss context of events, or see the context of other events.
"""

import json
from typing import Any

import pytest

from service.reasons import Reason, RefusedError
from tests.doubles import Sender
from tests.pgcopy import read_copy
from tests.unit.pipeline.checked import accepted, only

GOOD = {"type": "page"}
BATCH_CONTEXT_BYTES_MAX = 32 * 1_024


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_a_batchs_context_is_under_that_of_its_events(sender: Sender) -> None:
    shared = {"ip": "1", "os": "x"}

    plain = accepted(sender, GOOD, context=shared)
    own = accepted(sender, GOOD | {"context": {"ip": "2"}}, context=shared)

    assert {"ip": "1", "os": "x"} == json.loads(plain["context"])
    assert {"ip": "2", "os": "x"} == json.loads(own["context"])


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("null", "null", None),
        ('{"a":1}', "null", b'{"a":1}'),
        ("null", '{ "b" : 2 }', b'{ "b" : 2 }'),
        # Of two members with one name jsonb keeps the last.
        ('{"a":1,"b":1}', '{"b":2}', b'{"a":1,"b":1,"b":2}'),
        ('{"a":{"x":1}}', '{"a":{"y":1}}', b'{"a":{"x":1},"a":{"y":1}}'),
        ('{"a":1}', '{"a":null}', b'{"a":1,"a":null}'),
        ("{}", "{}", b"{}"),
        ("{ }", '{"a":1}', b'{"a":1}'),
        ('{"a":1}', "{\n}", b'{"a":1}'),
        ('{ "a" : 1 }', '{"b": 2 }', b'{"a" : 1,"b": 2}'),
        (
            '{"a": 1.50e3, "\\u00e9": "\\u00e9"}',
            '{"b":12345678901234567890123}',
            b'{"a": 1.50e3, "\\u00e9": "\\u00e9","b":12345678901234567890123}',
        ),
    ],
)
def test_the_members_of_both_contexts_are_there_as_sent_and_the_events_own_come_last(
    sender: Sender, outer: str, inner: str, expected: bytes | None
) -> None:
    body = f'{{"context":{outer},"batch":[{{"type":"page","context":{inner}}}]}}'

    events = sender.check_body(body.encode()).payload.events

    assert expected == only(read_copy(events.copy_data()))["context"]


def test_the_context_of_a_batch_has_a_limit(sender: Sender) -> None:
    frame = len(b'{"a":""}')
    largest = {"a": "x" * (BATCH_CONTEXT_BYTES_MAX - frame)}
    row = accepted(sender, GOOD, context=largest)
    assert BATCH_CONTEXT_BYTES_MAX == len(row["context"])

    with pytest.raises(RefusedError) as caught:
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

    with pytest.raises(RefusedError):
        sender.check_body(body)


def test_the_deepest_contexts_allowed_can_be_merged(sender: Sender) -> None:
    deep = '{"a":' * 30 + "1" + "}" * 30
    body = f'{{"batch":[{{"type":"page","context":{deep}}}],"context":{deep}}}'

    events = sender.check_body(body.encode()).payload.events

    assert json.loads(deep) == json.loads(only(read_copy(events.copy_data()))["context"])
