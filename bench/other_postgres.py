"""Another PostgreSQL than the embedded one: its own programs, otherwise the same kind of server."""

import os
import secrets
import subprocess
from pathlib import Path
from typing import Final

from provision import postgres
from provision.errors import ProvisionError
from provision.place import Place, find_place

_PRIVATE: Final = 0o600


def start(folder: Path, programs: Path, settings: dict[str, str | int]) -> postgres.Server:
    """
    Start a new server with the programs in *programs*, of any version that Forebay works with.

    Raises
    ------
    ProvisionError
        It cannot be made or started.
    """
    place = find_place(folder)._replace(programs=programs)
    _initialise(place)
    # The steps after this one are the embedded server's; nobody but a benchmark needs this door.
    return postgres._adopt_or_start(place, settings)  # noqa: SLF001


def _initialise(place: Place) -> None:
    """Make a cluster without what only newer versions know."""
    password = secrets.token_urlsafe(24)
    handed_over = place.home / "handed-over"
    for path in (place.password, handed_over):
        path.touch(_PRIVATE)
        path.write_text(password)
    place.data.mkdir(mode=0o700)
    for path in (place.data, handed_over):
        os.chown(path, place.account.uid, place.account.gid)
    done = subprocess.run(
        [
            *(place.programs / "initdb", "--pgdata", str(place.data), "--no-instructions"),
            *("--username", "postgres", "--pwfile", str(handed_over)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
        ],
        env={"PATH": os.defpath, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        **place.account.popen_arguments,
    )
    handed_over.unlink()
    if done.returncode:
        raise ProvisionError(f"initdb of {place.programs} failed: {done.stderr.strip()}")
