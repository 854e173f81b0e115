"""The guard checks more than a JSON parser does, and builds less."""

import json
from typing import Final

from bench.micro.conftest import Gate
from service.pipeline.check import scan

# Seen: 6 to 8 on two shared cores.
AT_LEAST: Final = 3.0


def test_the_guard_is_faster_than_a_parser_that_builds_dicts(
    gate: Gate, body: bytes, events: int
) -> None:
    gate(
        lambda: scan(body, None, events),
        lambda: json.loads(body),
        AT_LEAST,
    )
