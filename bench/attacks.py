"""Attacks of strangers without a key: what `bench.flood` has measured, and its table."""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.goals import Cells, table

_FOLDER: Final = Path(__file__).parent / "results/attacks"
_WHAT: Final = {
    "idle": "idle after one request",
    "headers": "half of the headers",
    "body": "half of a small body",
    "unread": "100 requests, answers not read",
    "blocked": "300 requests, answers not read",
    "gzip": "0.7 KB of unfinished gzip of 500 KB",
    "plain": "500 KB of an unfinished body",
    "made-up": "400 KB with a made-up key in it",
    "guesses": "made-up keys without a pause",
}


class Latency(NamedTuple):
    """Latency of the requests of an honest client, in ms."""

    p50_ms: float
    p99_ms: float
    failed: int


class Attack(msgspec.Struct):
    """The service before, during and after one attack; the memory is that of its largest worker."""

    name: str
    connections: int
    before: Latency
    during: Latency
    mb_before: float
    mb_highest: float
    mb_after: float
    stop_s: float

    def row(self) -> Cells:
        """Return its cells: those of `HEAD`."""
        return (
            f"{self.before.p50_ms:.1f}, {self.during.p50_ms:.1f}",
            f"{self.before.p99_ms:.1f}, {self.during.p99_ms:.1f}",
            str(self.during.failed),
            f"{self.mb_before:.0f}, {self.mb_highest:.0f}, {self.mb_after:.0f}",
            f"{self.stop_s:.1f}",
        )


HEAD: Final = (
    "p50 ms, without and with",
    "p99 ms, without and with",
    "refused of 1,000",
    "MB before, highest, after",
    "stop s",
)


def save(name: str, attacks: list[Attack]) -> None:
    """Keep the results for the page."""
    _FOLDER.mkdir(exist_ok=True)
    _file(name).write_bytes(msgspec.json.format(msgspec.json.encode(attacks)) + b"\n")


def section() -> str:
    """Return the section of the page."""
    command = "`python -m bench.flood --save now`"
    text = (
        f"{command}, two workers. The honest client sends one event after another, every third one"
        " on a new connection, before and during each attack. *Before*: without the bounds of"
        " decisions 33, 34 and 36."
    )
    before = {attack.name: attack for attack in _read("before")}
    rows: list[Cells] = []
    for attack in _read("now"):
        name = f"{attack.connections:,}: {_WHAT[attack.name]}"
        if attack.name in before:
            rows.append((name, "before", *before[attack.name].row()))
        rows.append((name, "now", *attack.row()))
    return f"{text}\n\n{table(('connections of strangers', '', *HEAD), rows)}"


def _read(name: str) -> list[Attack]:
    return msgspec.json.decode(_file(name).read_bytes(), type=list[Attack])


def _file(name: str) -> Path:
    return _FOLDER / f"{name}.json"
