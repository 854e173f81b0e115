"""
Validation of the names of tenants, workspaces and keys.

The SQL function `is_valid_name` in migrations has the same rule; a test compares the two.
"""

from typing import Final

from provision.errors import InvalidError

CHARS_MAX: Final = 100
ALLOWED: Final = (
    f"a name has 1 to {CHARS_MAX} characters, no control characters or line breaks, "
    "and no blank at its beginning or end"
)
_BLANKS: Final = " \u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_CONTROLS: Final = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))
_SHOWN_CHARS_MAX: Final = 120


def checked_name(what: str, name: str) -> str:
    """
    Return *name* if it is valid. *what* is used in the message: "tenant", "workspace" or "key".

    Raises
    ------
    InvalidError
        The name is not valid; the message contains the name and the rule.
    """
    reason = _problem(name)
    if reason is None:
        return name
    shown = ascii(name) if len(name) <= _SHOWN_CHARS_MAX else ascii(name[:_SHOWN_CHARS_MAX]) + "…"
    raise InvalidError(f"invalid name for a {what}: {shown} {reason}; {ALLOWED}")


def _problem(name: str) -> str | None:
    if not name.strip(_BLANKS):
        return "is blank"
    if len(name) > CHARS_MAX:
        return f"has {len(name)} characters"
    if not _CONTROLS.isdisjoint(name):
        return "has a control character"
    if name != name.strip(_BLANKS):
        return "begins or ends with a blank"
    if not _is_text(name):
        return "is not valid UTF-8"
    return None


def _is_text(name: str) -> bool:
    # Python decodes bytes of the command line that are not UTF-8 to lone surrogates.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
