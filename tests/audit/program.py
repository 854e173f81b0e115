"""Runs an audit program."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Output(NamedTuple):
    """What a program wrote. Its exit status is not here: it does not tell why it failed."""

    output: bytes
    errors: bytes


def output_of(program: Path, arguments: Sequence[str]) -> Output:
    """Run *program*. If it cannot be run, the reason is in `errors`."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, check=False)
    except OSError as error:
        return Output(b"", str(error).encode())
    return Output(done.stdout, done.stderr)
