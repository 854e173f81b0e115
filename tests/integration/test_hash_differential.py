"""
The content hash, compared with jsonb: equal hashes exactly for documents that jsonb stores alike.

jsonb compares numbers by value and the hash compares their digits, so PostgreSQL gets each number
as a text inside an object.

If these tests fail: the same event sent twice is a conflict, or another event is a duplicate.
"""

import re
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.doubles import Sender
from tests.integration.conftest import Database
from tests.nightly import examples
from tests.sent import Pen

_TEXT_OR_NUMBER: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(-?\d[\d.eE+-]*)')


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
async def test_documents_have_one_hash_exactly_where_jsonb_stores_them_alike(
    database: Database, seed: int
) -> None:
    pen = Pen(seed)
    documents = [pen.object() for _ in range(30)]
    documents += [pen.rewritten(pen.choice(documents)) for _ in range(30)]
    events = [f'{{"type":"page","properties":{document}}}' for document in documents]
    rows = Sender().check_body(f'{{"batch":[{",".join(events)}]}}'.encode()).payload.events.all()

    stored = await database.connection.fetch(
        "SELECT given::jsonb::text FROM unnest($1::text[]) AS given",
        [_with_spelled_numbers(document) for document in documents],
    )

    pairs = {(row.payload_hash, text) for row, (text,) in zip(rows, stored, strict=True)}
    assert len({payload_hash for payload_hash, _ in pairs}) == len(pairs)
    assert len({text for _, text in pairs}) == len(pairs)


def _with_spelled_numbers(document: str) -> str:
    def spell(found: re.Match[str]) -> str:
        return f'{{"#":"{found[1]}"}}' if found[1] else found[0]

    return _TEXT_OR_NUMBER.sub(spell, document)
