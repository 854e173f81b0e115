"""
As whom the embedded PostgreSQL runs, and where that user may go.

PostgreSQL refuses to run as root. Then it runs as the owner of its data, `nobody` for new ones.
We never make users, and never open a folder that somebody closed.
"""

import os
import pwd
import stat
from pathlib import Path
from typing import Any, Final, NamedTuple

from provision.errors import ProvisionError

_UNPRIVILEGED: Final = "nobody"


class Account(NamedTuple):
    """A user of the system, without supplementary groups."""

    uid: int
    gid: int

    @property
    def popen_arguments(self) -> dict[str, Any]:
        """How subprocess becomes this user; nothing when we are it."""
        if self.uid == os.geteuid():
            return {"cwd": "/"}
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}


def is_root() -> bool:
    """Tell whether we are root, whom PostgreSQL refuses."""
    return os.geteuid() == 0


def server_account(data: Path) -> Account:
    """
    Return the user to run PostgreSQL as, for this data folder (which may not exist yet).

    Raises
    ------
    ProvisionError
        We are root, and there is no unprivileged user to become.
    """
    if not is_root():
        return Account(os.geteuid(), os.getegid())
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise ProvisionError(
            f"PostgreSQL does not run as root and there is no user {_UNPRIVILEGED!r} to run it as: "
            "start Forebay as an ordinary user, or set DATABASE_URL"
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def may_enter(folder: Path, account: Account) -> bool:
    """Tell whether the user can reach what is inside the folder; it must be there."""
    resolved = folder.resolve()
    return all(
        _is_granted(step.stat(), account, stat.S_IXOTH) for step in (resolved, *resolved.parents)
    )


def may_read(path: Path, account: Account) -> bool:
    """Tell whether the user can reach the file and read it; false when it is not there."""
    resolved = path.resolve()
    return (
        resolved.exists()
        and may_enter(resolved.parent, account)
        and _is_granted(resolved.stat(), account, stat.S_IROTH)
    )


def _is_granted(status: os.stat_result, account: Account, bit: int) -> bool:
    """As the kernel decides: exactly one of the three classes counts."""
    if status.st_uid == account.uid:
        return bool(status.st_mode & (bit << 6))
    if status.st_gid == account.gid:
        return bool(status.st_mode & (bit << 3))
    return bool(status.st_mode & bit)
