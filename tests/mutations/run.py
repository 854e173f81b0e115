"""
Violates each rule in a copy of the tree, and reports whether a test fails.

`make mutations` runs all; `make mutations ARGS="rows-unsorted commit-tag-ignored"` some of them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from provision import postgres
from tests.mutations.mutation import ROOT, Mutation, load
from tests.mutations.source import StaleError
from tests.mutations.tree import Tree, copy_sources

GREEN_TIMEOUT_S: Final = 600.0
RED_TIMEOUT_S: Final = 180.0
CAUGHT: Final = "caught"


def main() -> int:
    """Run the given mutations, or all; return 1 if one survives or is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", help="only these mutations")
    asked = set(parser.parse_args().ids)
    listed = load()
    if unknown := asked - {mutation.id for mutation in listed}:
        parser.error(f"not in the list: {', '.join(sorted(unknown))}")
    chosen = [mutation for mutation in listed if not asked or mutation.id in asked]
    if not _are_current(chosen):
        return 1
    with _tree() as tree:
        return 0 if _is_green(tree, chosen) and _are_all_caught(tree, chosen) else 1


def verdict(tree: Tree, mutation: Mutation) -> str:
    """Return `caught` if the tests of *mutation* fail with it, else what is wrong."""
    try:
        with tree.broken_by(mutation):
            run = tree.test(mutation.test_ids, RED_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"HUNG: no end within {RED_TIMEOUT_S:.0f} s"
    green = [test for test in mutation.test_ids if not run.is_red(test)]
    if run.is_green or (run.has_red_tests and green):
        return f"SURVIVED {', '.join(green)}"
    if not run.has_red_tests:
        return f"BROKEN: the tests cannot run\n{run.stdout}{run.stderr}"
    return CAUGHT


def _are_current(mutations: list[Mutation]) -> bool:
    is_current = True
    for mutation in mutations:
        try:
            mutation.applied((ROOT / mutation.file).read_text())
        except (OSError, StaleError) as error:
            print(f"STALE    {error}")
            is_current = False
    return is_current


def _is_green(tree: Tree, mutations: list[Mutation]) -> bool:
    """Whether all tests pass without a mutation: a test that fails anyway proves nothing."""
    tests = sorted({test for mutation in mutations for test in mutation.test_ids})
    began = time.monotonic()
    run = tree.test(tests, GREEN_TIMEOUT_S)
    took_s = time.monotonic() - began
    if run.is_green:
        print(f"{len(tests)} tests are green without a mutation  {took_s:5.1f} s", flush=True)
    else:
        print(f"RED without a mutation:\n{run.stdout}{run.stderr}")
    return run.is_green


def _are_all_caught(tree: Tree, mutations: list[Mutation]) -> bool:
    caught, began = 0, time.monotonic()
    for mutation in mutations:
        started = time.monotonic()
        result = verdict(tree, mutation)
        took_s = time.monotonic() - started
        caught += result == CAUGHT
        print(f"rule {mutation.rule:2}  {mutation.id:34} {took_s:5.1f} s  {result}", flush=True)
    print(f"{caught} of {len(mutations)} caught in {time.monotonic() - began:.0f} s")
    return caught == len(mutations)


@contextmanager
def _tree() -> Iterator[Tree]:
    with tempfile.TemporaryDirectory(prefix="forebay-mutations-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # as root the server runs as another user, which needs access
        copy_sources(folder / "tree")
        # One server for all runs, with durable settings, which the service requires.
        server = postgres.start(folder / "server", max_connections=200, max_wal_senders=0)
        try:
            tree = Tree(folder / "tree", folder / "target", server.url())
            tree.require_own_imports()
            yield tree
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
