"""
What both commands share: how they run, and what they print.

Results go to stdout, as JSON for scripts or as text for people; messages go to stderr.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, NoReturn

import msgspec
from cyclopts import App, Parameter

from provision.errors import ProvisionError
from service.config import ConfigError

# Without `negative`, cyclopts would add --no-json.
Json = Annotated[bool, Parameter(name="--json", negative="")]

_DISTRIBUTION: Final = "forebay"
_INTERRUPTED: Final = 130


def run(app: App) -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 already there."""
    try:
        app(sys.argv[1:], exit_on_error=True, result_action="sys_exit")
    except (ProvisionError, ConfigError) as error:
        print_message(f"{app.name[0]}: {error}")
        sys.exit(getattr(error, "exit_code", ProvisionError.exit_code))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(0)


def installed_version() -> str:
    """Return the version of the installed package."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed (run make setup)"


def print_json(value: Any) -> None:
    """Print one line of JSON, alone on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_message(text: str) -> None:
    """Tell the person something that is no result."""
    sys.stderr.write(text + "\n")


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one thing, a field a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        sys.stdout.write(f"{name:<{width}}  {_text(value)}\n")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Print a table on a terminal, tab-separated lines with a heading elsewhere."""
    names = list(columns)
    cells = [[_text(row[name]) for name in names] for row in rows]
    if sys.stdout.isatty():
        _print_table(names, cells)
        return
    for line in (names, *cells):
        sys.stdout.write("\t".join(line) + "\n")


def _print_table(names: list[str], cells: list[list[str]]) -> None:
    from rich import box  # noqa: PLC0415 - 45 ms that only a terminal has to pay
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*names, box=box.SIMPLE_HEAD)
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    # Names and events are strangers' texts: no control sequence of theirs reaches the terminal.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
