"""
Rules of the source tree: sizes, names, imports, and lists that must be up to date.

If these tests fail: a developer finds a page, a name or a limit that is no longer true.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

import tests.conftest
from service.store.schema import SCHEMA_VERSION

ROOT: Final = Path(__file__).parents[1]
LINES_MAX: Final = 500
PYTHON_FOLDERS: Final = ("service", "provision", "bench", "tests")
SOURCES: Final = {
    **dict.fromkeys(PYTHON_FOLDERS, ("*.py", "*.pyi", "*.sql")),
    "native/src": ("*.rs",),
    "native/fuzz": ("*.rs",),
    "migrations": ("*.sql",),
}
BANNED_NAMES: Final = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
PACKAGES: Final = ("service", "provision")
# Type names that two places may define, each with the reason.
SHARED_TYPE_NAMES: Final = {
    "Arrival": "the stub of the core describes the attributes that it reads from our struct",
}
# Modules in which every public class is a term of the domain.
DOMAIN: Final = (
    "service/model.py",
    "service/reasons.py",
    "service/content.py",
    "service/pipeline/*.py",
    "service/store/*.py",
    "service/_native.pyi",
)
TYPE_NAME: Final = re.compile(r"[A-Z]\w*[a-z]\w*")
MIGRATIONS: Final = sorted(path.name for path in (ROOT / "migrations").glob("*.sql"))


def sources() -> Iterator[Path]:
    for folder, patterns in SOURCES.items():
        for pattern in patterns:
            yield from (ROOT / folder).rglob(pattern)


def statements(room: str) -> tuple[set[str], set[str]]:
    """Return the names of a package's SQL statements: those in its files, those in its code."""
    texts = [path.read_text() for path in (ROOT / room).rglob("*.sql")]
    named = [name for text in texts for name in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]
    assert len(named) == len(set(named))
    code = "\n".join(path.read_text() for path in (ROOT / room).rglob("*.py"))
    return set(named), set(re.findall(r'\bstatement\(\s*"(\w+)"', code))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Yield the names that a module imports at run time or for type checking."""
    pending: list[ast.AST] = [parsed(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)


def python_types(path: Path) -> Iterator[str]:
    """Yield the public classes and type aliases that a module defines."""
    for node in parsed(path).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if is_alias(name, value):
                yield name


def is_alias(name: str, value: ast.expr) -> bool:
    is_made = isinstance(value, ast.Call) and ast.unparse(value.func) != "NewType"
    return TYPE_NAME.fullmatch(name) is not None and not is_made


def rust_types(path: Path) -> list[str]:
    pattern = r"^(?:pub(?:\(\w+\))? )?(?:struct|enum|union|trait|type) (\w+)"
    return re.findall(pattern, path.read_text(), re.MULTILINE)


def types_by_place() -> Iterator[tuple[str, str]]:
    """
    Yield each type of the product and the benchmark with the file that defines it.

    Without `bench/peers`: a peer is a separate program with its own names.
    """
    stub = set(python_types(ROOT / "service/_native.pyi"))
    for folder in (*PACKAGES, "bench"):
        for path in (ROOT / folder).rglob("*.py*"):
            if path.suffix in {".py", ".pyi"} and "peers" not in path.parts:
                yield from ((name, relative(path)) for name in python_types(path) if name[0] != "_")
    for path in (ROOT / "native/src").rglob("*.rs"):
        # The stub describes the same type.
        yield from ((name, relative(path)) for name in rust_types(path) if name not in stub)


def test_no_file_is_longer_than_500_lines() -> None:
    too_long = {
        relative(path): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > LINES_MAX
    }

    assert {} == too_long


def test_no_module_has_a_name_that_says_nothing_about_its_content() -> None:
    assert [] == [path for path in sources() if BANNED_NAMES & set(path.stem.split("_"))]


@pytest.mark.parametrize("room", ["service/store", "provision"])
def test_every_sql_statement_exists_and_is_used(room: str) -> None:
    named, asked_for = statements(room)

    assert named == asked_for


def test_sql_is_only_in_sql_files() -> None:
    found = [
        relative(path)
        for path in (ROOT / "service").rglob("*.py")
        if re.search(r'"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER) ', path.read_text())
    ]

    assert [] == found


def test_migrations_are_numbered_without_gaps() -> None:
    numbers = [name.partition("_")[0] for name in MIGRATIONS]

    assert [f"{number:04}" for number in range(1, len(MIGRATIONS) + 1)] == numbers
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name) for name in MIGRATIONS)


def test_the_service_needs_the_newest_migration() -> None:
    assert SCHEMA_VERSION == MIGRATIONS[-1].partition("_")[0]


def test_the_service_imports_no_test_double() -> None:
    users = [
        relative(path)
        for path in (ROOT / "service").rglob("*.py")
        if "tests.doubles" in path.read_text()
    ]

    assert [] == users


def test_the_core_is_fuzzed_with_the_packages_that_it_is_released_with() -> None:
    locked, fuzzed = (
        dict(re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource', (ROOT / path).read_text()))
        for path in ("Cargo.lock", "native/fuzz/Cargo.lock")
    )
    shared = locked.keys() & fuzzed.keys()

    assert {"jiff", "sha2", "simdutf8", "wide", "xxhash-rust"} <= shared
    assert {name: locked[name] for name in shared} == {name: fuzzed[name] for name in shared}


def test_no_comment_is_a_todo() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")

    assert [] == [path for path in sources() if marks.search(path.read_text())]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_in_an_import_cycle(package: str) -> None:
    paths = {module_name(path): path for path in (ROOT / package).rglob("*.py")}
    graph = {
        name: {
            module
            for imported in imports_of(path)
            for module in (imported, imported.rpartition(".")[0])
            if module in paths and module != name
        }
        for name, path in paths.items()
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_a_type_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for name, place in types_by_place():
        places.setdefault(name, []).append(place)
    shared = {name: found for name, found in places.items() if len(found) > 1}

    assert {} == {name: found for name, found in shared.items() if name not in SHARED_TYPE_NAMES}
    assert set() == SHARED_TYPE_NAMES.keys() - shared.keys()


def test_the_glossary_lists_every_type_of_the_domain_once() -> None:
    """A row lists a type when its first cell has the name in backticks."""
    rows = re.findall(r"^\|([^|]*)\|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    names = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    listed = Counter(name for name in names if TYPE_NAME.fullmatch(name))
    domain = {
        node.name
        for pattern in DOMAIN
        for path in ROOT.glob(pattern)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name[0] != "_"
    }

    assert [] == sorted(domain - listed.keys())
    assert [] == sorted(listed.keys() - {name for name, _ in types_by_place()})
    assert {} == {name: count for name, count in listed.items() if count > 1}


def test_every_module_of_tests_says_what_breaks_for_a_user() -> None:
    """The docstring ends with a paragraph `If these tests fail: <what a user would see>.`."""
    silent = [
        relative(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if not re.search(
            tests.conftest.USER_IMPACT.pattern.replace("(.+)", r"(.+)\.\Z"),
            (ast.get_docstring(parsed(path)) or "").strip(),
            re.MULTILINE | re.DOTALL,
        )
    ]

    assert [] == silent
