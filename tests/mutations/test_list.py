"""
The list of mutations fits the code: every entry applies, and every test that it names exists.

If these tests fail: a change can violate a rule of the write path without a failing test, and a
sender loses events.
"""

import ast
from collections import Counter

import pytest

from tests.mutations.mutation import ROOT, Mutation, load, rules, symbols
from tests.mutations.source import StaleError, changed, symbol_range, without_call
from tests.mutations.tree import Run

MUTATIONS = load()
PYTHON = """
LIMIT: Final = 3


class Store:
    def save(self, rows):
        if not rows:  # nothing to save
            return None
        self.log(
            len(rows),
        )
        return self.write(rows[0], timeout=LIMIT)
"""
RUST = """
impl<'a> Plan<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let mut keyed = vec!['{'];
        keyed.sort();
        Self { keyed }
    }
}

impl Other {
    fn new() -> Self { Self }
}
"""
SQL = """
-- name: read
SELECT 'a' FROM t

-- name: write
INSERT INTO t VALUES ($1)
"""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.id)
def test_every_mutation_still_applies(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text()

    mutated = mutation.applied(text)

    assert text != mutated
    if mutation.file.endswith(".py"):
        ast.parse(mutated)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.id)
def test_the_tests_that_have_to_fail_exist(mutation: Mutation) -> None:
    assert mutation.test_ids


def test_every_rule_has_two_mutations_at_least() -> None:
    broken = Counter(mutation.rule for mutation in MUTATIONS)

    assert set(range(1, len(rules()) + 1)) == set(broken)
    assert 2 <= min(broken.values())


def test_ids_are_unique_and_every_symbol_is_used() -> None:
    ids = [mutation.id for mutation in MUTATIONS]

    assert len(ids) == len(set(ids))
    assert set(symbols()) == {mutation.symbol for mutation in MUTATIONS}


@pytest.mark.parametrize(
    ("text", "language", "name", "first", "last"),
    [
        (PYTHON, ".py", "LIMIT", "LIMIT", "= 3"),
        (PYTHON, ".py", "Store.save", "def save(self", "timeout=LIMIT)"),
        (RUST, ".rs", "Plan::new", "fn new(rows", "Self { keyed }\n    }"),
        (RUST, ".rs", "Other::new", "fn new()", "{ Self }"),
        (SQL, ".sql", "read", "SELECT", "FROM t"),
        (SQL, ".sql", "write", "INSERT", "VALUES ($1)"),
    ],
)
def test_a_symbol_is_found_by_its_name(
    text: str, language: str, name: str, first: str, last: str
) -> None:
    start, end = symbol_range(text, language, name)

    found = text[start:end].strip()
    assert (True, True) == (found.startswith(first), found.endswith(last)), found


@pytest.mark.parametrize(("language", "name"), [(".py", "Store.load"), (".rs", "new")])
def test_a_symbol_that_is_missing_or_ambiguous_is_stale(language: str, name: str) -> None:
    with pytest.raises(StaleError):
        symbol_range({".py": PYTHON, ".rs": RUST}[language], language, name)


def test_a_change_keeps_what_the_pattern_captured_and_the_indentation() -> None:
    mutated = changed(
        PYTHON, ".py", "return self.write($row, $options)", "self.forget()\nreturn $row"
    )

    assert mutated.endswith("        self.forget()\n        return rows[0]\n")


@pytest.mark.parametrize("pattern", ["return self.read($rows)", "rows"])
def test_a_pattern_that_is_missing_or_ambiguous_is_stale(pattern: str) -> None:
    with pytest.raises(StaleError):
        changed(PYTHON, ".py", pattern, "")


def test_the_whole_statement_of_a_call_is_dropped() -> None:
    start, end = symbol_range(PYTHON, ".py", "Store.save")
    python = without_call(PYTHON[start:end], ".py", "log")

    assert "\n        pass\n        return self.write" in python
    assert "vec!['{'];\n        Self" in without_call(RUST, ".rs", "keyed.sort")


def test_a_test_counts_as_failed_only_when_it_failed_itself() -> None:
    output = "FAILED tests/a.py::test_one[x y] - why\nFAILED tests/b.py::test_three\n"
    run = Run([], 1, output, "")

    asked = ["tests/a.py::test_one", "tests/a.py", "tests/b.py::test_three", "tests/b.py::test_t"]

    assert [True, True, True, False] == [run.is_red(test) for test in asked]
