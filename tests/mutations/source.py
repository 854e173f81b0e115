"""
Finds a symbol in Python, Rust or SQL, and changes tokens of it.

A *pattern* is a piece of code. It matches token by token: line breaks, spaces and comments do not
count. `$name` matches the shortest run of tokens in which every bracket is closed; the replacement
may use it.
"""

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_STRINGS: Final = {
    ".py": r'"""(?s:.*?)"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
    ".rs": r"\"(?s:\\.|[^\"\\])*\"|'(?:\\[^']+|[^'\\\n])'",
    ".sql": r"'(?:''|[^'])*'|\"[^\"]*\"",
}
_COMMENTS: Final = {".py": r"#[^\n]*", ".rs": r"//[^\n]*", ".sql": r"--[^\n]*"}
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


class StaleError(Exception):
    """The symbol or the pattern is not in the file exactly once."""


class _Token(NamedTuple):
    text: str
    start: int
    end: int


class _Match(NamedTuple):
    start: int
    end: int
    captured: dict[str, str]


def symbol_range(text: str, language: str, name: str) -> tuple[int, int]:
    """
    Return where the code of the symbol *name* begins and ends in *text*.

    *language* is the suffix of the file. *name* is `Class.function` or a constant in Python,
    `function` or `Type::function` in Rust, and the name of a statement in SQL.

    Raises
    ------
    StaleError
        There is no such symbol, or more than one.
    """
    find = {".py": _python_ranges, ".rs": _rust_ranges, ".sql": _sql_ranges}[language]
    found = list(find(text, name))
    if len(found) != 1:
        raise StaleError(f"the symbol {name} is there {len(found)} times")
    return found[0]


def changed(code: str, language: str, pattern: str, to: str) -> str:
    """Return *code* with the only match of *pattern* replaced; raises StaleError."""
    match = _only_match(code, language, pattern)
    for name, value in match.captured.items():
        to = to.replace(name, value)
    line = code[code.rfind("\n", 0, match.start) + 1 : match.start]
    indent = line[: len(line) - len(line.lstrip())]
    return code[: match.start] + to.replace("\n", f"\n{indent}") + code[match.end :]


def without_call(code: str, language: str, called: str) -> str:
    """Return *code* without the only statement that calls *called*; raises StaleError."""
    match = _only_match(code, language, f"{called}($arguments)", f"{called}()")
    if language == ".py":
        start, end = _statement_range(code, match.start)
        return f"{code[:start]}pass{code[end:]}"
    before = [token.end for token in _tokens(code[: match.start], language) if token.text in ";{}"]
    after = code.index(";", match.end) + 1
    return code[: before[-1]] + code[after:]


def _only_match(code: str, language: str, *patterns: str) -> _Match:
    tokens = list(_tokens(code, language))
    asked = [[token.text for token in _tokens(pattern, language)] for pattern in patterns]
    found = [
        _Match(tokens[start].start, tokens[end - 1].end, captured)
        for texts in asked
        for start in range(len(tokens))
        for end, captured in _matches(code, tokens, start, texts)
    ]
    if len(found) != 1:
        raise StaleError(f"{patterns[0]!r} is there {len(found)} times")
    return found[0]


def _matches(
    code: str, tokens: list[_Token], at: int, texts: list[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the end and the captured texts of each match that begins at *at*."""
    if not texts:
        yield at, {}
    elif texts[0][0] == "$":
        for end in _balanced_ends(tokens, at):
            for last, captured in _matches(code, tokens, end, texts[1:]):
                yield last, {texts[0]: code[tokens[at].start : tokens[end - 1].end]} | captured
                return
    elif at < len(tokens) and tokens[at].text == texts[0]:
        yield from _matches(code, tokens, at + 1, texts[1:])


def _balanced_ends(tokens: list[_Token], start: int) -> Iterator[int]:
    depth = 0
    for index in range(start, len(tokens)):
        depth += (tokens[index].text in _OPENING) - (tokens[index].text in _CLOSING)
        if depth < 0:
            return
        if depth == 0:
            yield index + 1


def _tokens(text: str, language: str) -> Iterator[_Token]:
    words = rf"(?P<skip>\s+|{_COMMENTS[language]})|{_STRINGS[language]}|\$?\w+|\S"
    for match in re.finditer(words, text):
        if match["skip"] is None:
            yield _Token(match[0], match.start(), match.end())


def _python_ranges(text: str, name: str) -> Iterator[tuple[int, int]]:
    starts = _line_starts(text)
    for node in _named(ast.parse(text), name.split(".")):
        yield starts[node.lineno - 1], starts[(node.end_lineno or node.lineno)]


def _named(parent: ast.AST, names: list[str]) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, ast.stmt) or names[0] not in _names_of(node):
            continue
        if len(names) == 1:
            yield node
        else:
            yield from _named(node, names[1:])


def _names_of(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return {name}
    return set()


def _statement_range(code: str, at: int) -> tuple[int, int]:
    """Return the innermost statement of indented Python *code* around the place *at*."""
    # In a block, so that the indented function is a valid module.
    head = "if True:\n"
    is_indented = code[:1].isspace()
    text = head + code if is_indented else code
    shift = len(head) if is_indented else 0
    starts, found = _line_starts(text), (0, len(code))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and node.end_lineno and node.end_col_offset:
            start = starts[node.lineno - 1] + node.col_offset - shift
            end = starts[node.end_lineno - 1] + node.end_col_offset - shift
            if start <= at < end and end - start < found[1] - found[0]:
                found = start, end
    return found


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text)), len(text)]


def _rust_ranges(text: str, name: str) -> Iterator[tuple[int, int]]:
    kind, _, function = name.rpartition("::")
    tokens = list(_tokens(text, ".rs"))
    words = [token.text for token in tokens]
    spans = [(0, len(tokens))]
    if kind:
        heads = (index for index, word in enumerate(words) if word == "impl")
        spans = [
            (head, _block_end(words, head)) for head in heads if kind in words[head : head + 6]
        ]
    for first, last in spans:
        for index in range(first, last - 1):
            if words[index : index + 2] == ["fn", function]:
                yield tokens[index].start, tokens[_block_end(words, index) - 1].end


def _block_end(words: list[str], start: int) -> int:
    """Return the index behind the first block in braces from *start* on."""
    opening = words.index("{", start)
    return next(end for end in _balanced_words(words, opening))


def _balanced_words(words: list[str], start: int) -> Iterator[int]:
    yield from _balanced_ends([_Token(word, 0, 0) for word in words], start)


def _sql_ranges(text: str, name: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(rf"^-- name: {re.escape(name)}$", text, re.MULTILINE):
        following = text.find("\n-- name: ", match.end())
        yield match.end(), len(text) if following < 0 else following
