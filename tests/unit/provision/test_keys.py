"""
Limits of a key by profile, and that its text stays hidden.

If these tests fail: requests of Segment's SDKs are refused, or the text of a key gets into a log.
"""

from provision.keys import LIMITS, NewKey, Profile


def test_the_default_profile_leaves_the_limits_to_the_service() -> None:
    assert (None, None) == LIMITS[Profile.DEFAULT]


def test_the_segment_profile_takes_what_segments_sdks_send() -> None:
    assert (250, 524_288) == LIMITS[Profile.SEGMENT]


def test_the_text_of_a_key_is_not_in_its_repr() -> None:
    made = NewKey("acme", "web", "id", "fb1_secret", 1, 2)

    assert repr(made) == "NewKey(acme/web, id)"
