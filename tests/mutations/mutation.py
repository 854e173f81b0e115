"""A mutation: a small change that breaks one of the rules, and the tests that must see it."""

import tomllib
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
LIST: Final = Path(__file__).with_name("mutations.toml")


class StaleError(Exception):
    """The text that a mutation changes is not there, or not once: the list is out of date."""


class Mutation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    One change: *old* stands in *file* exactly once and becomes *new*.

    Each of *tests* (a file, or one test of it with all of its parameters) must go red by it.
    """

    id: str
    rule: int
    breaks: str
    file: str
    old: str
    new: str
    tests: list[str]

    @property
    def is_native(self) -> bool:
        """Whether the core has to be built for it."""
        return self.file.endswith(".rs")

    def applied(self, text: str) -> str:
        """
        Return *text* with the change in it.

        Raises
        ------
        StaleError
            There is nothing to change, or more than one place.
        """
        places = text.count(self.old)
        if places != 1:
            raise StaleError(f"{self.id}: its old text is {places} times in {self.file}")
        return text.replace(self.old, self.new)


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[str]
    mutation: list[Mutation]


def load() -> list[Mutation]:
    """Return the list, in its order."""
    return _list().mutation


def rules() -> list[str]:
    """Return the rules in a few words each; the first is number one."""
    return _list().rules


def _list() -> _List:
    return msgspec.convert(tomllib.loads(LIST.read_text()), _List)
