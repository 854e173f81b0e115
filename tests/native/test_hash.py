import hashlib

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from service import _native

INT64 = st.integers(-(2**63), 2**63 - 1)
LOW_60_BITS = 2**60 - 1


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_event_key_is_the_start_of_sha_256(event_id: str) -> None:
    assert hashlib.sha256(event_id.encode()).digest()[:16] == _native.event_key(event_id)


@given(INT64, st.binary(max_size=2_000))
def test_a_content_hash_is_a_version_and_xxh3_seeded_with_the_workspace(
    workspace_id: int, content: bytes
) -> None:
    reference = xxhash.xxh3_64_intdigest(content, seed=workspace_id % 2**64)

    assert 1 << 60 | reference & LOW_60_BITS == _native.content_hash(workspace_id, content)


@given(INT64, INT64)
def test_only_hashes_of_one_version_can_differ(stored: int, given_hash: int) -> None:
    is_one_version = stored % 2**64 >> 60 == given_hash % 2**64 >> 60
    expected = stored == given_hash or not is_one_version

    assert expected == _native.is_same_content(stored, given_hash)


def test_the_version_is_the_first() -> None:
    assert _native.CONTENT_HASH_VERSION == 1


@given(st.binary(max_size=300))
def test_sha_256_is_what_hashlib_gives(content: bytes) -> None:
    assert hashlib.sha256(content).digest() == _native.sha256(content)
