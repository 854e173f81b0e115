"""The list of mutations is up to date: each changes one place, and its tests are there."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.mutations.mutation import LIST, ROOT, Mutation, StaleError, load, rules
from tests.mutations.tree import Run

MUTATIONS = load()
README = LIST.with_name("README.md")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.id)
def test_what_a_mutation_changes_is_there_once(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text()

    changed = mutation.applied(text)

    assert text != changed


def test_the_tests_that_have_to_go_red_are_there() -> None:
    tests = sorted({test for mutation in MUTATIONS for test in mutation.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]

    collected = subprocess.run(
        [*command, *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert 0 == collected.returncode, collected.stdout + collected.stderr


def test_every_rule_is_broken_in_two_ways_at_least() -> None:
    broken = Counter(mutation.rule for mutation in MUTATIONS)

    assert set(range(1, len(rules()) + 1)) == set(broken)
    assert 2 <= min(broken.values())


def test_every_mutation_has_a_name_of_its_own_and_its_line_in_the_table() -> None:
    ids = [mutation.id for mutation in MUTATIONS]
    cells = [line.split(" | ") for line in README.read_text().splitlines() if line[:3] == "| `"]

    assert len(ids) == len(set(ids))
    assert [(f"| `{each.id}`", str(each.rule)) for each in MUTATIONS] == [
        (name, rule) for name, rule, *_ in cells
    ]


@pytest.mark.parametrize("text", ["", "old old"])
def test_a_mutation_whose_text_is_gone_or_not_alone_is_stale(text: str) -> None:
    mutation = Mutation("x", 1, "nothing", "file", "old", "new", [])

    with pytest.raises(StaleError):
        mutation.applied(text)


def test_a_test_is_red_only_when_it_failed_itself() -> None:
    output = "FAILED tests/a.py::test_one[x y] - why\nFAILED tests/b.py::test_three\n"
    run = Run([], 1, output, "")

    asked = ["tests/a.py::test_one", "tests/a.py", "tests/b.py::test_three", "tests/b.py::test_t"]

    assert [True, True, True, False] == [run.is_red(test) for test in asked]
