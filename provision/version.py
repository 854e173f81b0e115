"""Which release this is."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

_DISTRIBUTION: Final = "forebay"


def installed_version() -> str:
    """Return the version as installed; there is one for all parts, that of the native core."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed (run make setup)"
