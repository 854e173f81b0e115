"""
The examples of a page: finds them by their fences, and runs them against a real service.

What is run says so behind its language: `bash status=200`, `sql rows=1`, or just `bash` or
`python`, which must succeed. A `json` or `text` block right behind one is what it prints. Fences of
other languages are excerpts, and so are `console` blocks.
"""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

_FENCE: Final = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTION: Final = re.compile(r"(\w+)=(\w+)")
_RUN: Final = ("bash", "python", "sql")
_PRINTED: Final = ("json", "text")
_TIME: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+(\+00:00|Z)?")
# Generated ids: request ids are 64 bits in base36, so their first digit is at most 3; event ids.
_ID: Final = re.compile(r"\b([0-3][0-9a-z]{12}|[0-9a-z]{20})\b")
_TIMEOUT_S: Final = 30

# Defines the commands of a page; curl prints the status after the body of each answer.
_PRELUDE: Final = """
set -euo pipefail
curl() { command curl --max-time 20 --write-out '\\n%{http_code}' "$@"; }
provision() { "$PYTHON" -m provision "$@"; }
"""


class Example(NamedTuple):
    """One block that is run, its options and its expected output (None if the page has none)."""

    where: str
    language: str
    text: str
    options: dict[str, str]
    printed_as: str | None
    printed: str | None


def examples(page: Path, languages: Sequence[str] = _RUN) -> Iterator[Example]:
    """Return the examples of *page* in these languages, in order."""
    content = page.read_text(encoding="utf-8")
    blocks = list(_FENCE.finditer(content))
    for block, after in itertools.zip_longest(blocks, blocks[1:]):
        language, options, text = block.groups()
        if language not in languages:
            continue
        printed_as, printed = None, None
        if after is not None and after[1] in _PRINTED:
            is_next = not content[block.end() : after.start()].strip()
            printed_as, printed = (after[1], after[3]) if is_next else (None, None)
        line = content.count("\n", 0, block.start()) + 1
        where = f"{page.name}:{line}"
        yield Example(where, language, text, dict(_OPTION.findall(options)), printed_as, printed)


def run_bash(example: Example, environment: Mapping[str, str]) -> str:
    """Run the commands; return their output."""
    return _run(["bash", "-c", _PRELUDE + example.text], example, environment)


def run_python(example: Example, environment: Mapping[str, str]) -> str:
    """Run the program; return its output."""
    return _run([environment["PYTHON"], "-c", example.text], example, environment)


def _run(command: list[str], example: Example, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{example.where}: {done.stderr}{done.stdout}"
    return done.stdout


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows in the form of the pages: a heading, then one line per row."""
    heading = " | ".join(rows[0]) if rows else ""
    lines = [
        " | ".join("" if value is None else str(value) for value in row.values()) for row in rows
    ]
    return "\n".join(line.rstrip() for line in [heading, *lines])


def masked(text: str, printed_as: str) -> Any:
    """Replace generated ids and current times, which differ from run to run."""
    without = _ID.sub("<id>", _TIME.sub("<time>", text))
    if printed_as == "json":
        return json.loads(without)
    return without.strip()
