"""
Every list of the columns of an event is the one that native/columns.toml generates.

If these tests fail: a field is stored in the wrong column, or is missing in the documentation.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_list_of_columns_is_up_to_date() -> None:
    check = [sys.executable, "native/columns.py", "--check"]
    checked = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (0, "") == (checked.returncode, checked.stdout + checked.stderr)
