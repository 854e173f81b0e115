"""
The claims of docs/explanation/security.md, each with the tests that show it.

If these tests fail: a reader trusts a claim about security that no test shows.
"""

import ast
import re
from functools import cache
from typing import Final

from tests.docs.conftest import DOCS, ROOT
from tests.docs.tables import tables

PAGE: Final = DOCS / "explanation/security.md"
CLAIMS: Final = [
    (section, claim, shown) for section, rows in tables(PAGE).items() for claim, shown in rows
]
NODE_ID: Final = re.compile(r"tests/[\w/]+\.py::test_\w+")


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / file
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
    functions = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions)


def test_every_named_test_exists() -> None:
    named = [name.split("::") for name in NODE_ID.findall(PAGE.read_text(encoding="utf-8"))]
    missing = [(file, test) for file, test in named if test not in functions_of(file)]

    assert [] == missing


def test_every_claim_names_the_tests_that_show_it() -> None:
    assert len(CLAIMS) > 50
    for section, claim, shown in CLAIMS:
        named = re.sub(NODE_ID, "", shown)
        assert NODE_ID.search(shown), f"{section}: {claim}"
        assert re.fullmatch(r"[`, ]*", named), f"{section}: {named}"


def test_no_claim_is_made_twice() -> None:
    assert len(CLAIMS) == len({claim for _, claim, _ in CLAIMS})
