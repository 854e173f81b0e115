"""Why a connection could not be opened, as the end of a sentence."""

from collections.abc import Iterable
from typing import Final

import asyncpg

# Startup parameters that PgBouncer passes on by itself.
_PASSED_ON: Final = frozenset({"application_name", "timezone"})
# Startup parameter of dbmate's driver; dbmate applies the migrations.
_MIGRATING: Final = "options"
_UNSUPPORTED: Final = "unsupported startup parameter"


def is_about_url(error: Exception) -> bool:
    """Tell whether the URL or the pooler has to be changed: a retry cannot help."""
    if isinstance(error, asyncpg.PostgresError) and _UNSUPPORTED in str(error):
        return True
    return isinstance(
        error, ValueError | asyncpg.UndefinedObjectError | asyncpg.InvalidParameterValueError
    )


def connect_reason(error: Exception, sent: Iterable[str] = ()) -> str:
    """Return what *error* means; *sent* are the startup parameters of the connection."""
    text = str(error).partition("\n")[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncpg.PostgresError) and _UNSUPPORTED in text:
        names = ", ".join([*(name for name in sent if name not in _PASSED_ON), _MIGRATING])
        return (
            "the pooler refuses startup parameters; PgBouncer needs"
            f" ignore_startup_parameters = {names}"
        )
    if isinstance(error, asyncpg.UndefinedObjectError | asyncpg.InvalidParameterValueError):
        return f"{text}; change or remove this parameter of DATABASE_URL"
    return text or type(error).__name__
