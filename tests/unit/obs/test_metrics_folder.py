"""
The folder of the metric files is removed after its parent process has ended or was killed.

If these tests fail: each restart leaves files in the temporary folder, or one service deletes the
metrics of another one.
"""

import os
import tempfile
from pathlib import Path

import pytest

from service.obs.metrics_folder import metrics_folder


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def age(folder: Path) -> None:
    """Make the modification time of *folder* an hour old."""
    os.utime(folder, (folder.stat().st_atime, folder.stat().st_mtime - 3_600))


def test_a_folder_exists_for_the_duration_of_the_block(temp: Path) -> None:
    with metrics_folder() as folder:
        assert folder.parent == temp
        assert folder.is_dir()
    assert not folder.exists()


def test_old_folders_without_a_lock_are_removed_and_others_are_not(temp: Path) -> None:
    of_killed, of_older_release, young = (temp / f"forebay-metrics-{name}" for name in "abc")
    for folder in (of_killed, of_older_release, young):
        folder.mkdir()
    (of_killed / "lock").touch()
    age(of_killed)
    age(of_older_release)

    with metrics_folder() as of_other:
        age(of_other)
        with metrics_folder() as own:
            left = set(temp.iterdir())

    assert {of_other, own, young} == left
