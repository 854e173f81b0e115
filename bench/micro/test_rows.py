"""From a body to rows that are ready for COPY, with their keys and hashes."""

from typing import Final

from bench.micro import encoder
from bench.micro.conftest import Gate
from tests.doubles import NOON, Sender

# By events a body. Seen: 9 and 40 on two shared cores.
AT_LEAST: Final = {1: 4.0, 50: 15.0}


def test_rows_are_made_faster_than_plain_python_makes_them(
    gate: Gate, body: bytes, events: int
) -> None:
    sender = Sender()

    gate(lambda: sender.check_body(body), lambda: encoder.rows(body, NOON, 1), AT_LEAST[events])
