"""The bare HTTP server is the service's own, but for what is served."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What is served where, and what watches over workers; neither is on a request's way.
OWN = {
    *("factory", "address", "port", "workers", "log_dictconfig"),
}


def options(path: str) -> dict[str, str]:
    """Return the arguments that a file gives to Granian or to our kind of it, with numbers."""
    tree = ast.parse((ROOT / path).read_text())
    constants = {
        node.target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
    }
    (call,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"Granian", "_Server"}
    )
    found = {str(keyword.arg): ast.unparse(keyword.value) for keyword in call.keywords}
    for name, text in constants.items():
        found = {option: value.replace(name, text) for option, value in found.items()}
    return {option: value for option, value in found.items() if option not in OWN}


def test_the_floor_has_the_options_of_the_service() -> None:
    assert options("service/server.py") == options("bench/floors/http_floor.py")
