"""
The text of a new API key stays hidden.

If these tests fail: keys appear in logs and tracebacks.
"""

from provision.keys import NewKey


def test_the_text_of_a_key_is_not_in_its_repr() -> None:
    made = NewKey("acme", "web", "id", "fb1_secret", 1, 2)

    assert repr(made) == "NewKey(acme/web, id)"
