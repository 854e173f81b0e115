"""
The modules of the native core have no circular dependencies, within each folder.

If these tests fail: a developer cannot read the modules of the core in the order of use.
"""

import re
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent.parent / "native/src"
_USE: Final = re.compile(r"^\s*(?:pub )?use ((?:crate|super)::[^;]+);", re.MULTILINE)
_DECLARED: Final = re.compile(r"^(?:pub )?mod (\w+);", re.MULTILINE)
_IN_PLACE: Final = re.compile(r"\bcrate((?:::\w+)+)")


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def paths_in(tree: str) -> list[str]:
    """Return each path of a `use` with its braces expanded, one level at a time."""
    found = re.search(r"\{([^{}]*)\}", tree)
    if not found:
        return [tree]
    start, end = found.span()
    names = [name.strip() for name in found[1].split(",") if name.strip()]
    return [path for name in names for path in paths_in(tree[:start] + name + tree[end:])]


def dependencies() -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Return for each module the modules that its code uses, without its unit tests."""
    files = {module_of(path): path for path in sorted(SOURCES.rglob("*.rs"))}
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for module, path in files.items():
        code = path.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests")[0]
        used = [each for tree in _USE.findall(code) for each in paths_in(tree)]
        used += [f"crate{each}" for each in _IN_PLACE.findall(code)]
        graph[module] = {target(each, module, files) for each in used} - {module, ()}
    return graph


def target(
    used: str, module: tuple[str, ...], files: dict[tuple[str, ...], Path]
) -> tuple[str, ...]:
    """Return the module that a path names: the longest one that is a file."""
    first, *names = used.replace(" ", "").split(" as ")[0].split("::")
    is_folder = files[module].name == "mod.rs"
    base = () if first == "crate" else module if is_folder else module[:-1]
    path = (*base, *(name for name in names if name != "self"))
    while path and path not in files:
        path = path[:-1]
    return path


def circle(graph: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[str]:
    """Return the modules that are left when those without dependencies are removed, repeatedly."""
    left = dict(graph)
    while free := [module for module, used in left.items() if not used & left.keys()]:
        for module in free:
            del left[module]
    return ["::".join(module) for module in left]


def test_no_module_depends_on_itself_through_others() -> None:
    # A folder's mod.rs names the modules of the folder: a dependency on the folder is one on them.
    graph = {module: used - {module[:1]} for module, used in dependencies().items()}

    assert circle(graph) == []


def test_a_circle_is_found() -> None:
    assert circle({("a",): {("b",)}, ("b",): {("a",), ("c",)}, ("c",): set()}) == ["a", "b"]


def test_each_module_uses_only_those_that_lib_rs_names_before_it() -> None:
    order = _DECLARED.findall((SOURCES / "lib.rs").read_text(encoding="utf-8"))
    wrong = [
        f"{'::'.join(module)} uses {'::'.join(used)}"
        for module, targets in dependencies().items()
        for used in targets
        if module and order.index(used[0]) > order.index(module[0])
    ]

    assert order == ["ids", "panic_for_tests", "json", "event", "rows", "python"]
    assert wrong == []


def test_each_folder_names_its_modules_in_order_of_use() -> None:
    graph = dependencies()
    for folder in ("json", "event", "rows"):
        order = _DECLARED.findall((SOURCES / folder / "mod.rs").read_text(encoding="utf-8"))
        for module in order:
            used = {path[1] for path in graph[folder, module] if path[0] == folder and path[1:]}
            assert {order.index(name) < order.index(module) for name in used} <= {True}, module
