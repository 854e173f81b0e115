"""Requirements on the PostgreSQL server and the database."""

from typing import Final

VERSION_NUM_MIN: Final = 150_000
_ENCODING: Final = "UTF8"
_PER_MAJOR: Final = 10_000


def unfit_server(version_num: int, encoding: str) -> str | None:
    """Return why a server of *version_num* or a database in *encoding* is unfit, else None."""
    if version_num < VERSION_NUM_MIN:
        return (
            f"the server is PostgreSQL {version_num // _PER_MAJOR}, and Forebay needs"
            f" {VERSION_NUM_MIN // _PER_MAJOR} or later: use a newer server"
        )
    if encoding != _ENCODING:
        return (
            f"the database has the encoding {encoding}, and Forebay needs {_ENCODING}: make"
            f" another one with CREATE DATABASE … ENCODING '{_ENCODING}' TEMPLATE template0"
        )
    return None
