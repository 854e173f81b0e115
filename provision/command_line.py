"""
Functions of both commands: running the command line, and printing results and messages.

Results go to stdout, as JSON or as text; messages go to stderr.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, NoReturn

import msgspec
from cyclopts import App, Parameter, Token

from provision.errors import ProvisionError
from service.config import ConfigError

# Without `negative`, cyclopts would add --no-json.
JsonFlag = Annotated[bool, Parameter(name="--json", negative="")]
Json = Annotated[JsonFlag, Parameter(help="Print the result as JSON.")]

_DISTRIBUTION: Final = "forebay"
_INTERRUPTED: Final = 130


def run(app: App) -> NoReturn:
    """Run the command line, and exit with the code of the error if there is one."""
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


def whole_number(_type: Any, tokens: Sequence[Token]) -> int:
    """Convert the text of an option; cyclopts itself would round 1.5, and read 0x10."""
    text = tokens[0].value
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"{text!r} is not a whole number.")
    return int(text)


def print_json(value: Any) -> None:
    """Print the value to stdout as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_message(text: str) -> None:
    """Print a message to stderr."""
    sys.stderr.write(text + "\n")


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one object, one field per line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        sys.stdout.write(f"{name:<{width}}  {_text(value)}\n")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Print a table on a terminal; otherwise a header and rows, with tabs between the values."""
    names = list(columns)
    cells = [[_text(row[name]) for name in names] for row in rows]
    if sys.stdout.isatty():
        _print_table(names, cells)
        return
    for line in (names, *cells):
        sys.stdout.write("\t".join(line) + "\n")


def _print_table(names: list[str], cells: list[list[str]]) -> None:
    from rich import box  # noqa: PLC0415 - takes 45 ms, needed on a terminal only
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
    # Names and events come from senders: their control characters must not reach the terminal.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
