"""
The system user that runs the embedded PostgreSQL.

PostgreSQL refuses to run as root. If root starts Forebay, the server runs with a user id and a
group id that no account of the system has: so no other program can read its files or its memory.
The user `nobody` would be no better than a shared account, because other services run as `nobody`.
"""

import grp
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from provision.errors import ProvisionError

# Ids that neither systemd, adduser nor containers assign: https://systemd.io/UIDS-GIDS/
_UNASSIGNED_IDS: Final = range(60_578, 61_184)
_NOBODY: Final = "nobody"
_HOME_MODE: Final = 0o710


class Account(NamedTuple):
    """A system user, without supplementary groups."""

    uid: int
    gid: int

    @property
    def popen_arguments(self) -> dict[str, Any]:
        """Arguments for `subprocess` to run a program as this user."""
        if self.uid == os.geteuid():
            return {"cwd": "/"}
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}

    def may(self, operator: str, path: Path) -> bool:
        """Return the result of `test` as this user; operator -x: enter or run, -r: read."""
        if self.uid == os.geteuid():
            return True
        done = subprocess.run(["test", operator, path], check=False, **self.popen_arguments)  # noqa: S607
        return done.returncode == 0


def server_account(data: Path) -> Account:
    """
    Return the user that runs PostgreSQL on this data folder, which may not exist yet.

    Raises
    ------
    ProvisionError
        Root started Forebay, and all ids that the server could use are assigned to accounts.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    # Data of an ordinary user, whose Forebay root starts now.
    if data.exists() and not _is_shared((owner := data.stat()).st_uid):
        return Account(owner.st_uid, owner.st_gid)
    for number in _UNASSIGNED_IDS:
        if not (_exists(pwd.getpwuid, number) or _exists(grp.getgrgid, number)):
            return Account(number, number)
    raise ProvisionError(
        f"PostgreSQL does not run as root, and all user ids from {_UNASSIGNED_IDS.start} to"
        f" {_UNASSIGNED_IDS.stop - 1} are assigned: start Forebay as an ordinary user, or set"
        " DATABASE_URL"
    )


def initdb_account(account: Account) -> Account:
    """
    Return the user that runs initdb for the server of *account*.

    Unlike the server, initdb looks up the name of its user. It runs as `nobody`, but in the group
    of the server: so other programs of `nobody` can neither enter the folder nor trace the process.

    Raises
    ------
    ProvisionError
        The system has no user `nobody`.
    """
    if _exists(pwd.getpwuid, account.uid):
        return account
    try:
        return Account(pwd.getpwnam(_NOBODY).pw_uid, account.gid)
    except KeyError:
        raise ProvisionError(
            f"initdb does not run as root, and there is no user {_NOBODY!r} to run it: start"
            " Forebay as an ordinary user, or set DATABASE_URL"
        ) from None


def close_home(home: Path, account: Account) -> None:
    """Close the home folder of a server of root to all other users."""
    if os.geteuid() == 0 and home.stat().st_uid == 0:
        os.chown(home, 0, account.gid)
        home.chmod(_HOME_MODE)


def give(folder: Path, account: Account) -> None:
    """Make *account* the owner of *folder* and of its content, without following links."""
    if folder.stat().st_uid == account.uid:
        return
    # The folder itself comes last: if this is interrupted, the next start repeats it.
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, *account, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, *account)


def _is_shared(uid: int) -> bool:
    """Whether other programs may run as this user, although root created the data."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return uid == 0 or name == _NOBODY or uid in _UNASSIGNED_IDS


def _exists(look_up: Callable[[int], object], number: int) -> bool:
    try:
        look_up(number)
    except KeyError:
        return False
    return True
