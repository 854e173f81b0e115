"""Whether a second event with the id of a stored one is a duplicate of it, or a conflict."""

from tests.doubles import Sender, make_event
from tests.integration.conftest import Database, StoreBench


async def test_an_event_written_in_another_way_is_a_duplicate(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    event = '{"type":"track","event":"e","event_id":"a","properties":%s,"timestamp":"%s"}'
    written = (
        ('{"a":1,"b":{"c":"É","d":[2]}}', "2026-02-28T12:00:00Z"),
        (r'{ "b": {"d":[ 2 ],"\u0063":"\u00c9"}, "a":1 }', "2026-02-28T13:00:00.000+01:00"),
        ('{"a":1,"b":{"c":"É","d":[3]}}', "2026-02-28T12:00:00Z"),
    )
    bodies = [f'{{"batch":[{event % each}]}}'.encode() for each in written]

    statuses = [await store.statuses(sender.check_body(body).payload) for body in bodies]

    assert [[["accepted"]], [["duplicate"]], [["conflict"]]] == statuses
    assert 1 == len(await database.events())


async def test_a_ledger_row_of_the_hash_before_answers_duplicate(
    store: StoreBench, sender: Sender, database: Database
) -> None:
    await store.write(sender.payload(make_event("a", plan="free")))
    # The hash before had 1 in its four bits of version, and other bits below them.
    await database.connection.execute(
        "UPDATE event_deduplication"
        " SET payload_hash = ((payload_hash & ((1::bigint << 60) - 1)) # 5) | (1::bigint << 60)"
    )

    assert [["duplicate"], ["duplicate"]] == await store.statuses(
        sender.payload(make_event("a", plan="free")), sender.payload(make_event("a", plan="pro"))
    )
