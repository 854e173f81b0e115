"""How long a fuzzer runs and with which seed, and the cases that it has to repeat."""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

CORPUS: Final = Path(__file__).parents[1] / "corpus"
_SHORT_S: Final = 8.0
_SHORT_SEED: Final = "1"
# Set by `make fuzz-edge` and `make fuzz-http`.
_DURATION_S: Final = os.environ.get("FUZZ_DURATION_S", "")
_SEED: Final = os.environ.get("FUZZ_SEED", "")

T = TypeVar("T")


class Run:
    """One run of a fuzzer: its rounds have seeds `<seed of the run>:<number>`."""

    def __init__(self, name: str, part: float = 1.0) -> None:
        """
        *name*: of the fuzzer, and of the folder of its corpus.

        *part*: of the time that is given to the fuzzer.
        """
        self.name = name
        self.is_long = bool(_DURATION_S)
        self.seed = _SEED or (secrets.token_hex(4) if self.is_long else _SHORT_SEED)
        self.executions = 0
        self._duration_s = float(_DURATION_S or _SHORT_S) * part
        self._folder = CORPUS / name

    def rounds(self) -> Iterator[str]:
        """Yield the seed of each round, until the time is up; of a given round, only its own."""
        if ":" in self.seed:
            yield self.seed
            return
        started = reported = time.monotonic()
        number = 0
        while (now := time.monotonic()) - started < self._duration_s:
            if self.is_long and now - reported >= 60:
                reported = now
                print(f"{self.name}: {now - started:.0f} s, {self.executions} executions")
            yield f"{self.seed}:{number}"
            number += 1
        took_s = time.monotonic() - started
        print(
            f"{self.name}: seed {self.seed}, {number} rounds, {self.executions} executions,"
            f" {took_s:.0f} s"
        )

    def corpus(self, kind: type[T]) -> Iterator[T]:
        """Yield the cases that were found before, in the order of their file names."""
        for path in sorted(self._folder.glob("*.json")):
            yield msgspec.json.decode(path.read_bytes(), type=kind)

    def report(self, round_seed: str, case: msgspec.Struct) -> str:
        """Return how to repeat *case*, which has failed; a long run adds the case to the corpus."""
        content = msgspec.json.format(msgspec.json.encode(case), indent=1)
        place = "not saved"
        if self.is_long:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"found-{secrets.token_hex(4)}.json"
            path.write_bytes(content + b"\n")
            place = f"saved as {path.name}"
        return (
            f"repeat: FUZZ_SEED={round_seed} .venv/bin/pytest -n0 tests/fuzz -k {self.name};"
            f" the case ({place}): {content.decode()}"
        )
