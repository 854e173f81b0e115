"""The SQL statements of the service, by name, from the .sql files in this folder."""

import re
from functools import cache
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statement(name: str) -> str:
    """Return the statement with this name; raises KeyError when there is none."""
    return _statements()[name]


@cache
def _statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(_HERE.glob("*.sql")):
        _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            if name in found:
                raise ValueError(f"duplicate statement in {_HERE.name}/*.sql: {name}")
            found[name] = text.strip()
    return found
