"""
The label `key` of metrics.

If these tests fail: one key has two labels in the metrics, or there is a label for every key, and
Prometheus runs out of memory.
"""

from service.apikey import mint
from service.obs.key_labels import KEYS_MAX, MEMORY_BYTES, OTHER, KeyLabels


def key_ids(count: int) -> list[str]:
    return [mint().credential.key_id for _ in range(count)]


def test_the_first_keys_have_a_label_of_their_own_and_the_others_share_one() -> None:
    labels = KeyLabels(memoryview(bytearray(MEMORY_BYTES)))
    first, further = key_ids(KEYS_MAX), key_ids(5)

    assert first == [labels.label(key_id) for key_id in first]
    assert [OTHER] * 5 == [labels.label(key_id) for key_id in further]
    assert first == [labels.label(key_id) for key_id in first]


def test_a_key_has_the_same_label_in_every_worker_and_after_a_restart() -> None:
    memory = memoryview(bytearray(MEMORY_BYTES))
    first, second = KeyLabels(memory), KeyLabels(memory)
    ids = key_ids(KEYS_MAX + 4)

    of_first = {key_id: first.label(key_id) for key_id in ids[:30]}
    of_second = {key_id: second.label(key_id) for key_id in ids[20:]}
    restarted = KeyLabels(memory)
    of_restarted = {key_id: restarted.label(key_id) for key_id in reversed(ids)}

    assert of_restarted == of_first | of_second
    assert of_restarted == {key_id: first.label(key_id) for key_id in ids}
    assert KEYS_MAX == sum(label != OTHER for label in of_restarted.values())
    assert [OTHER] * 4 == [of_restarted[key_id] for key_id in ids[KEYS_MAX:]]


def test_a_slot_that_another_worker_has_just_taken_is_not_used() -> None:
    memory = memoryview(bytearray(MEMORY_BYTES))
    mine, other = key_ids(2)
    KeyLabels(memory).label(other)

    labels = KeyLabels(memory)

    assert mine == labels.label(mine)
    assert other == labels.label(other)
    assert bytes(memory[:24]) == f"{other}{mine}".encode()
