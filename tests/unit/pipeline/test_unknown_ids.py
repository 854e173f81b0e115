"""
The cache of ids that have no key.

If these tests fail: a key that was created lately is refused, or a sender with a wrong key costs a
query for each request.
"""

from service.pipeline.unknown_ids import UnknownIds
from tests.doubles import FixedClock

TTL_S = 30.0


def unknown_ids(clock: FixedClock, ids_max: int = 3) -> UnknownIds:
    return UnknownIds(clock, ttl_s=TTL_S, ids_max=ids_max)


def test_an_id_is_remembered_for_its_time_however_often_it_is_sent() -> None:
    clock = FixedClock()
    ids = unknown_ids(clock)
    ids.add("a")

    clock.advance(TTL_S / 2)
    assert ids.recall("a")
    clock.advance(TTL_S / 2 - 0.001)
    assert ids.recall("a")
    clock.advance(0.001)
    assert not ids.recall("a")

    ids.add("a")
    assert ids.recall("a")


def test_ids_sent_once_displace_no_id_that_is_sent_again() -> None:
    ids = unknown_ids(FixedClock())
    ids.add("wrong key of an honest sender")
    assert ids.recall("wrong key of an honest sender")

    for number in range(100):
        ids.add(str(number))

    assert ids.recall("wrong key of an honest sender")
    assert not ids.recall("0")
    assert ids.recall("99")


def test_both_parts_are_limited() -> None:
    ids = unknown_ids(FixedClock())
    for number in range(100):
        ids.add(str(number))
        assert ids.recall(str(number))

    assert [False, True, True, True] == [ids.recall(str(number)) for number in range(96, 100)]


def test_what_is_forgotten_is_not_remembered() -> None:
    ids = unknown_ids(FixedClock())
    for key_id in ("once", "again"):
        ids.add(key_id)
    ids.recall("again")

    for key_id in ("once", "again"):
        ids.forget(key_id)
    assert [False, False] == [ids.recall(key_id) for key_id in ("once", "again")]

    ids.add("once")
    ids.clear()
    assert not ids.recall("once")
