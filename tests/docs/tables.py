"""Reads the tables of a page as rows of cells."""

import re
from pathlib import Path
from typing import Final

_CODE: Final = re.compile(r"^`([^`]*)`$")
_DIVIDER: Final = re.compile(r"^\|[ :|-]+\|$")

Rows = list[list[str]]


def tables(page: Path) -> dict[str, Rows]:
    """Return the rows of each table, without its heading row, by the heading of its section."""
    found: dict[str, Rows] = {}
    heading, is_body = "", False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif _DIVIDER.match(line):
            is_body = True
            found.setdefault(heading, [])
        elif not line.startswith("|"):
            is_body = False
        elif is_body:
            found[heading].append([cell.strip() for cell in line.strip("|").split(" | ")])
    return {name: [[_plain(cell) for cell in row] for row in rows] for name, rows in found.items()}


def _plain(cell: str) -> str:
    """Remove the code marks of a cell that is only code."""
    text = cell.strip()
    match = _CODE.match(text)
    return match[1] if match else text
