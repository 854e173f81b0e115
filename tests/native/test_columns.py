"""
Every list of the columns of an event is generated from native/columns.toml and up to date.

If these tests fail: an analyst finds a field in the wrong column, or an undocumented column.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_list_of_columns_is_up_to_date() -> None:
    check = [sys.executable, "native/columns.py", "--check"]
    checked = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (0, "") == (checked.returncode, checked.stdout + checked.stderr)
