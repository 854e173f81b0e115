"""Fixtures that run commands, and folders for embedded servers."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from provision.__main__ import main
from provision.postgres_files import home_below_root_folder

ROOT: Final = Path(__file__).parents[3]

Done = subprocess.CompletedProcess[str]
Provision = Callable[..., Done]


def command_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child process that finds the sources from any folder."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | variables


@pytest.fixture
def provision(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Provision:
    """Run `provision …` on the test's database, in an empty folder and in this process."""

    def run(*arguments: str, url: str = database_url) -> Done:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["provision", *arguments])
        capsys.readouterr()
        # In another thread, because the command runs its own event loop.
        with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit) as ended:
            pool.submit(main).result()
        output = capsys.readouterr()
        return Done(sys.argv, int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Create a folder that the user of the embedded server can read."""
    with make_open_folder() as folder:
        yield folder


@contextlib.contextmanager
def make_open_folder() -> Iterator[Path]:
    """A folder that the user of the embedded server can read."""
    folder = Path(tempfile.mkdtemp(prefix="forebay-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def closed_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that only root may enter."""
    if os.geteuid() != 0:
        pytest.skip("only root's server runs as another user")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(home_below_root_folder(folder / ".forebay"), ignore_errors=True)
