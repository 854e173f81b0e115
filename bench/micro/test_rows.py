"""From a body to rows that are ready for COPY, with their keys and hashes."""

from typing import Final

from bench.micro import encoder
from bench.micro.conftest import Gate
from service.testing import NOON, Sender

# Seen: 3.3 and 6.5 on two shared cores.
AT_LEAST: Final = 1.5


def test_rows_are_made_faster_than_plain_python_makes_them(gate: Gate, body: bytes) -> None:
    sender = Sender()

    gate(lambda: sender.check_body(body), lambda: encoder.rows(body, NOON, 1), AT_LEAST)
