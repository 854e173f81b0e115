"""The length of the test runs: short, or long with NIGHTLY=1."""

import os
from typing import Final

IS_NIGHTLY: Final = os.environ.get("NIGHTLY", "") == "1"
_LONG_FACTOR: Final = 20


def examples(short: int) -> int:
    """Return how many examples Hypothesis tries: *short*, and 20 times as many in a nightly run."""
    return short * _LONG_FACTOR if IS_NIGHTLY else short
