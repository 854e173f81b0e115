"""
The results of the last `make sdks`, and the table in the README that is made from them.

`python -m tests.sdks.results` writes the table.
"""

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from tests.conftest import ROOT
from tests.sdks.clients import CLIENTS, Scenario, SdkClient

FILE: Final = Path(__file__).parent / "results.json"
README: Final = ROOT / "README.md"
COMMAND: Final = "make sdks"
_BEGIN: Final = "<!-- written by: python -m tests.sdks.results -->"
_END: Final = "<!-- end of the table -->"
_LOSSES: Final = (
    "Losses by the rules of the SDK: RudderStack's SDK for Node tries four times within seconds "
    "and then ends the process, its SDK for browsers keeps at most 100 unsent events in the page, "
    "and Jitsu's SDK tries once."
)
_TOLD_CHARACTERS: Final = 240
_PARTICULARS: Final = {
    r"20\d\d[-/]\d\d[-/]\d\d[T ][\d:.]+Z?": "<time>",
    r"127\.0\.0\.1:\d+": "<host>",
    r"port=\d+": "port=<port>",
    r'"request_id":"\w+"': '"request_id":"<id>"',
}
# The pages of the clients say the rest.
_SHOWN: Final = (
    Scenario.TYPES,
    Scenario.BURST,
    Scenario.LARGE,
    Scenario.REFUSED,
    Scenario.DATABASE,
    Scenario.SWALLOWED,
    Scenario.WRONG_KEY,
)
# What a client must do to work. The other scenarios show how it bears an outage.
_NEEDED: Final = (Scenario.TYPES, Scenario.BURST, Scenario.LARGE, Scenario.WRONG_KEY)


class Outcome(enum.StrEnum):
    """How the test of a scenario has ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


class Cell(msgspec.Struct, frozen=True):
    """The result of one scenario with one client."""

    outcome: Outcome
    sent: int
    stored: int
    told: str
    """What the user of the client saw, or why it was not run."""


class ClientResult(msgspec.Struct, frozen=True):
    """The results of one client, and the day of the last one."""

    version: str
    day: str
    cells: dict[str, Cell]


Results = dict[str, ClientResult]


def load() -> Results:
    """Return the kept results, by client."""
    return msgspec.json.decode(FILE.read_bytes(), type=Results) if FILE.exists() else {}


def kept(cells: Mapping[tuple[str, str], Cell]) -> None:
    """Add results to the file; those of scenarios that did not run stay."""
    results = load()
    versions = {client.name: client.version for client in CLIENTS}
    day = datetime.now(UTC).date().isoformat()
    for (name, scenario), seen in cells.items():
        cell = msgspec.structs.replace(seen, told=_without_particulars(seen.told))
        before = results.get(name)
        is_same = before is not None and before.version == versions[name]
        known = before.cells if before is not None and is_same else {}
        if cell.outcome is Outcome.NOT_RUN and scenario in known:
            continue  # another machine has run it
        results[name] = ClientResult(versions[name], day, {**known, scenario: cell})
    ordered = {client.name: results[client.name] for client in CLIENTS if client.name in results}
    text = msgspec.json.format(msgspec.json.encode(ordered), indent=1)
    FILE.write_bytes(text + b"\n")


def _without_particulars(told: str) -> str:
    """Return the first line without what differs from run to run and from machine to machine."""
    text = told.replace(str(ROOT), ".").partition("\n")[0]
    for pattern, name in _PARTICULARS.items():
        text = re.sub(pattern, name, text)
    return text[:_TOLD_CHARACTERS]


def table(results: Results) -> str:
    """Return the table of the README."""
    heading = ["client", "version", "by host only", "profile", *(str(one) for one in _SHOWN)]
    lines = [heading, ["---"] * len(heading)]
    lines += [_row(client, results.get(client.name)) for client in CLIENTS]
    days = sorted({result.day for result in results.values()})
    said = f"The last run of `{COMMAND}` ended on {days[-1]}." if days else "Nothing was run."
    said += f" {_LOSSES}"
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", said])


def _row(client: SdkClient, result: ClientResult | None) -> list[str]:
    cells = [None if result is None else result.cells.get(one) for one in _SHOWN]
    name = f"[{client.name}](docs/how-to/sdks/{client.page})"
    shown = [_cell(one, cell) for one, cell in zip(_SHOWN, cells, strict=True)]
    return [name, client.version, _verdict(client, result), str(client.profile), *shown]


def _verdict(client: SdkClient, result: ClientResult | None) -> str:
    cells = [None if result is None else result.cells.get(one) for one in _NEEDED]
    known = [cell for cell in cells if cell is not None and cell.outcome is not Outcome.NOT_RUN]
    if len(known) < len(_NEEDED):
        return "not run"
    does_work = all(cell.outcome is Outcome.PASSED for cell in known)
    return "yes" if does_work and client.is_by_host_only else "**no**"


def _cell(scenario: Scenario, cell: Cell | None) -> str:
    if cell is None or cell.outcome is Outcome.NOT_RUN:
        return "not run"
    if scenario is Scenario.WRONG_KEY and cell.outcome is Outcome.PASSED:
        return "refused"
    counted = f"{cell.stored} of {cell.sent}"
    is_whole = cell.outcome is Outcome.PASSED and cell.stored == cell.sent
    return counted if is_whole else f"**{counted}**"


def with_table(text: str) -> str:
    """Return the text of the README with the table of the kept results."""
    between = re.compile(f"(?<={re.escape(_BEGIN)}\n).*(?=\n{re.escape(_END)})", re.DOTALL)
    shown = table(load())
    return between.sub(lambda _: shown, text)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
