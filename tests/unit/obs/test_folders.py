"""The folder of metrics goes with its parent, however that ends."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.obs.folders import metrics_folder

ROOT = Path(__file__).parents[3]
PARENT = """
from service.obs.folders import metrics_folder
with metrics_folder():
    print("made", flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start_parent() -> subprocess.Popen[bytes]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"made\n"
    return parent


def test_a_folder_lasts_as_long_as_its_parent(temp: Path) -> None:
    with metrics_folder() as folder:
        assert folder.parent == temp
        assert folder.is_dir()
    assert not folder.exists()


def test_folders_of_killed_parents_are_removed_and_those_of_others_are_not(temp: Path) -> None:
    with start_parent() as living, start_parent() as killed:
        folders = set(temp.iterdir())
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        (temp / "forebay-metrics-of-an-older-release").mkdir()
        with metrics_folder(age_min_s=0) as own:
            left = set(temp.iterdir()) - {own}
        assert len(folders) == 2
        assert len(left) == 1
        assert left < folders
        living.communicate(b"\n")
    assert list(temp.iterdir()) == []


def test_a_folder_that_was_just_made_is_left_alone(temp: Path) -> None:
    (temp / "forebay-metrics-not-locked-yet").mkdir()
    with metrics_folder() as own:
        assert len(set(temp.iterdir()) - {own}) == 1
