"""
The files and methods that docs/explanation/architecture.md names, compared with the source tree.

If these tests fail: a newcomer who follows an event through the code looks for a file or a method
that does not exist.
"""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.conftest import DOCS, ROOT

PAGE: Final = (DOCS / "explanation/architecture.md").read_text(encoding="utf-8")
# Folders of files that the page names in short form, such as `edge/asgi.py` or `rules.rs`.
FOLDERS: Final = (
    ROOT,
    ROOT / "service",
    *(ROOT / "service" / name for name in ("edge", "pipeline", "store", "obs")),
    ROOT / "native/src",
    *(ROOT / "native/src" / name for name in ("json", "event", "rows")),
)
FILES: Final = sorted(set(re.findall(r"[\w./]+\.(?:py|pyi|rs|sql|toml)\b", PAGE)))
METHODS: Final = sorted(set(re.findall(r"`([A-Z]\w+)\.(\w+)`", PAGE)))
EXCERPT: Final = re.search(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("file", FILES)
def test_every_named_file_exists(file: str) -> None:
    assert any((folder / file).is_file() for folder in FOLDERS)


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_every_named_method_exists(name: str, method: str) -> None:
    classes = [
        node
        for path in [*(ROOT / "service").rglob("*.py"), ROOT / "service/_native.pyi"]
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    members = {
        node.name
        for found in classes
        for node in found.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    # Members of an enumeration are assignments.
    members |= {
        target.id
        for found in classes
        for node in found.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    assert method in members


def test_the_excerpt_of_the_steps_is_in_the_code() -> None:
    """Line by line and in order; comments may stand between the lines."""
    code = (ROOT / "service/pipeline/ingest.py").read_text(encoding="utf-8").splitlines()
    assert EXCERPT is not None
    lines = EXCERPT[1].splitlines()

    positions = [code.index(line) for line in lines if line in code]

    assert len(lines) == len(positions)
    assert sorted(positions) == positions


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
