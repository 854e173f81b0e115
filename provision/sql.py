"""Every statement of the provisioning commands, from queries.sql, by name."""

import re
from functools import cache
from pathlib import Path
from typing import Final

_PATH: Final = Path(__file__).with_name("queries.sql")
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def statement(name: str) -> str:
    """Return the statement called *name*; KeyError when there is none."""
    return _statements()[name]


@cache
def _statements() -> dict[str, str]:
    _, *parts = _NAME.split(_PATH.read_text(encoding="utf-8"))
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}
