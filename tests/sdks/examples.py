"""The examples of docs/how-to/sdks: finds the program of a client, and runs it."""

import itertools
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.docs.conftest import DOCS
from tests.docs.examples import Example, examples
from tests.sdks.clients import CLIENTS, SdkClient, Toolchain
from tests.sdks.installs import FOLDER, command

_LANGUAGES: Final = {
    Toolchain.PYTHON: "python",
    Toolchain.PYTHON_OLD: "python",
    Toolchain.NODE: "js",
    Toolchain.BROWSER: "js",
    Toolchain.GO: "go",
    Toolchain.JAVA: "java",
}
_TIMEOUT_S: Final = 60


def example_of(sdk: SdkClient) -> tuple[Example, Example]:
    """
    Return the program of *sdk* on its page, and the query that shows what it has stored.

    The first program of a page is that of the first client of the page, and so on.
    """
    language = _LANGUAGES[sdk.toolchain]
    found = list(examples(DOCS / "how-to/sdks" / sdk.page, (language, "sql")))
    pairs = [
        (one, after)
        for one, after in itertools.pairwise(found)
        if (one.language, after.language) == (language, "sql")
    ]
    of_page = [one for one in CLIENTS if one.page == sdk.page]
    return pairs[of_page.index(sdk)]


def run_example(sdk: SdkClient, program: str, url: str, key: str) -> None:
    """Run the program of a page for the server side; it must succeed."""
    arguments, folder = command(sdk)
    done = subprocess.run(
        _arguments(sdk, program, arguments, folder),
        cwd=folder,
        env=os.environ | {"URL": url, "KEY": key},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _arguments(sdk: SdkClient, program: str, arguments: list[str], folder: Path) -> list[str]:
    match sdk.toolchain:
        case Toolchain.NODE:
            return ["node", "--input-type=module", "--eval", program]
        case Toolchain.GO:
            there = folder / "bin/example/main.go"
            _write(there, program)
            return ["go", "run", "./bin/example"]
        case Toolchain.JAVA:
            there = folder / "target/example/Example.java"
            _write(there, program)
            return ["java", "-cp", "target/dependency/*", str(there)]
        case _:
            return [arguments[0], "-c", program]


def _write(path: Path, text: str) -> None:
    assert path.is_relative_to(FOLDER)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
