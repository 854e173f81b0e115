"""
Audit the dependencies: python -m tests.audit.

Exit status: 0 nothing is known against any dependency; 1 something was found; 3 nothing was found,
but the data of some check could not be had, so nothing is known about that part.
"""

import sys
from pathlib import Path
from typing import Final

from tests.audit.outcome import Status, status_of
from tests.audit.python_packages import audit_packages
from tests.audit.rust_crates import audit_crates

_ROOT: Final = Path(__file__).parent.parent
_PROGRAMS: Final = _ROOT / ".venv" / "audit" / "bin"
_VERDICTS: Final = {
    Status.CLEAN: "audit: no advisory is known, and all licences are allowed",
    Status.FOUND: "audit: FOUND, see above",
    Status.NO_DATA: (
        "audit: INCOMPLETE: nothing was found, but a part could not be checked. Run it again"
        " where the advisory databases can be reached."
    ),
}


def main() -> int:
    outcomes = [
        *(
            audit_packages(_PROGRAMS / "pip-audit", path)
            for path in sorted((_ROOT / "requirements").glob("*.txt"))
        ),
        *audit_crates(_PROGRAMS / "cargo-deny"),
    ]
    for outcome in outcomes:
        print(outcome)
    status = status_of(outcomes)
    print(_VERDICTS[status])
    return status


if __name__ == "__main__":
    sys.exit(main())
