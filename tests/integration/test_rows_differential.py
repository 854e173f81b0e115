"""
The rows of the core compared with a slow encoder in Python, as PostgreSQL reads them back.

The tests compare each column, ledger key and hash, content and verdict, for both ways of writing.

If these tests fail: an analyst finds other values in the table than the sender sent.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service._native import RowIds
from service.model import ApiKey
from service.reasons import Reason
from tests.doubles import NOON, FixedClock, Sender, make_key, make_payload
from tests.integration.conftest import Database, StoreBench
from tests.nightly import examples
from tests.pgcopy import read_copy
from tests.reference import Arrival, Expected, InvalidTimeError, Member, expected, loads
from tests.sent import Pen

SECRET: Final = bytes(range(32))
DOCUMENTS: Final = ("properties", "traits", "context", "extra")
# Each example uses a new tenant, because all examples share a database.
TENANTS: Final = itertools.count(1_000)


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    # Some row ids wrap around within the request.
    first_id=st.integers(0, 2**63 - 1) | st.integers(2**63 - 5, 2**63 - 1),
    workspace_id=st.integers(-(2**63), 2**63 - 1),
    microseconds=st.integers(0, 10**9),
)
async def test_the_core_encodes_what_the_reference_encodes(
    store: StoreBench,
    database: Database,
    seed: int,
    first_id: int,
    workspace_id: int,
    microseconds: int,
) -> None:
    pen = Pen(seed)
    sent, envelope, body = pen.body()
    clock_skew_min = pen.choice([timedelta(), timedelta(hours=6), timedelta(days=30)])
    clock = FixedClock(NOON + timedelta(microseconds=microseconds))
    key = make_key(tenant_id=next(TENANTS), workspace_id=workspace_id)
    arrival = Arrival(
        *(key.tenant_id, workspace_id, 1, clock.now(), "2.1", first_id, SECRET, clock_skew_min)
    )
    wanted, refused = reference(sent, envelope, arrival)
    firsts = list({row.event_key: row for row in reversed(wanted)}.values())

    ids = RowIds(first_id, SECRET)
    sender = Sender(key, ids=ids, clock=clock, clock_skew_min=clock_skew_min)
    checked = sender.check_body(body, schema_version="2.1")
    made = checked.payload.events
    # Without the rejected events, because quarantine rows need a transaction.
    (statuses,) = await store.statuses(make_payload(made))

    assert dict.fromkeys(refused, Reason.INVALID_TIMESTAMP) == {
        place: verdict.code for place, verdict in checked.rejected.items()
    }
    assert [row.content for row in wanted] == [row.content for row in made.all()]
    assert Counter(row.columns["type"] for row in wanted) == made.types
    assert statuses_of(wanted) == statuses
    columns = sorted((row.columns for row in firsts), key=itemgetter("id"))
    assert columns == sorted(map(decoded, read_copy(made.copy_data())), key=itemgetter("id"))
    assert columns == [decoded(row) for row in await stored(database, "events", key)]
    held = await stored(database, "event_deduplication", key)
    assert sorted((row.event_key, row.payload_hash, row.columns["id"]) for row in firsts) == sorted(
        (row["event_key"].bytes, row["payload_hash"], row["id"]) for row in held
    )
    assert {clock.now()} >= {row["received_at"] for row in held}


def reference(
    sent: Sequence[Sequence[Member]], envelope: dict[str, str], arrival: Arrival
) -> tuple[list[Expected], list[int]]:
    """Return the expected rows, and the positions of events with an invalid time."""
    rows, refused = [], []
    for place, event in enumerate(sent):
        try:
            rows.append(expected(event, envelope, arrival, place))
        except InvalidTimeError:
            refused.append(place)
    return rows, refused


def statuses_of(rows: list[Expected]) -> list[str]:
    """Return the expected statuses of the rows of one request: the first with a key is stored."""
    first: dict[bytes, int] = {}
    statuses = []
    for row in rows:
        if row.event_key not in first:
            first[row.event_key] = row.payload_hash
            statuses.append("accepted")
        else:
            is_same = first[row.event_key] == row.payload_hash
            statuses.append("duplicate" if is_same else "conflict")
    return statuses


def decoded(row: Any) -> dict[str, Any]:
    """Return the columns of a row, with its documents decoded as jsonb compares them."""
    return {
        name: loads(value) if name in DOCUMENTS and value is not None else value
        for name, value in row.items()
    }


async def stored(database: Database, table: str, key: ApiKey) -> list[Any]:
    query = f"SELECT * FROM {table} WHERE tenant_id = $1 ORDER BY id"
    rows: list[Any] = await database.connection.fetch(query, key.tenant_id)
    return rows
