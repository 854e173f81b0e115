"""A mutation: a small change that violates a rule, and the tests that must fail with it."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from tests.mutations.source import StaleError, changed, symbol_range, without_call

ROOT: Final = Path(__file__).parents[2]
LIST: Final = Path(__file__).with_name("mutations.toml")


class Mutation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    One change of one symbol, with the fields of mutations.toml.

    *symbol* names an entry of the table `symbols`. Either the statement that calls *drop* is
    removed, or *change* becomes *to*. Each of *tests* must fail with the change: its name, or
    `file::name` where two files have a test of that name.
    """

    id: str
    rule: int
    breaks: str
    symbol: str
    tests: list[str]
    drop: str = ""
    change: str = ""
    to: str = ""

    @property
    def file(self) -> str:
        """The path of the changed file, relative to the root."""
        return self._location[0]

    @property
    def is_native(self) -> bool:
        """Whether the native core has to be built again."""
        return self.file.endswith(".rs")

    @property
    def test_ids(self) -> list[str]:
        """The names of the tests for pytest."""
        return [_test_id(name) for name in self.tests]

    def applied(self, text: str) -> str:
        """
        Return the text of the file with the change in it.

        Raises
        ------
        StaleError
            The symbol, or what is to change in it, is not there exactly once.
        """
        language = Path(self.file).suffix
        try:
            start, end = symbol_range(text, language, self._location[1])
            code = text[start:end]
            code = (
                without_call(code, language, self.drop)
                if self.drop
                else changed(code, language, self.change, self.to)
            )
        except StaleError as error:
            raise StaleError(f"{self.id}: {error}, in {self.file}") from None
        return text[:start] + code + text[end:]

    @property
    def _location(self) -> tuple[str, str]:
        try:
            file, _, name = _list().symbols[self.symbol].partition(":")
        except KeyError:
            raise StaleError(f"{self.id}: the table has no symbol {self.symbol}") from None
        return file, name


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[str]
    symbols: dict[str, str]
    mutation: list[Mutation]


def load() -> list[Mutation]:
    """Return the mutations in the order of the list."""
    return _list().mutation


def rules() -> list[str]:
    """Return the rules; the first one is number 1."""
    return _list().rules


def symbols() -> dict[str, str]:
    """Return the place of each symbol, as `file:name`."""
    return _list().symbols


@cache
def _list() -> _List:
    return msgspec.convert(tomllib.loads(LIST.read_text()), _List)


@cache
def _files_of_tests() -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
            files.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    return files


def _test_id(asked: str) -> str:
    file, _, name = asked.rpartition("::")
    files = [path for path in _files_of_tests().get(name, []) if path.endswith(file)]
    if len(files) != 1:
        raise StaleError(f"the test {asked} is there {len(files)} times")
    return f"{files[0]}::{name}"
