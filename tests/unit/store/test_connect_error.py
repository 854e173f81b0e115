"""Why a connection could not be opened: in one line, and whether the URL has to be changed."""

import asyncpg
import pytest

from service.store.connect_error import connect_reason, is_about_url

SENT = ["application_name", "lock_timeout", "timezone", "search_path"]
CHANGE = "; change or remove this parameter of DATABASE_URL"
REFUSED = "the pooler refuses startup parameters; PgBouncer needs "


@pytest.mark.parametrize(
    ("error", "expected", "is_url"),
    [
        (TimeoutError(), "no answer in time", False),
        (ConnectionResetError(), "ConnectionResetError", False),
        (OSError("away\nfor now"), "away", False),
        (asyncpg.InvalidPasswordError("no such user"), "no such user", False),
        (
            asyncpg.UndefinedObjectError('unrecognized configuration parameter "x"'),
            'unrecognized configuration parameter "x"' + CHANGE,
            True,
        ),
        (
            asyncpg.ProtocolViolationError("unsupported startup parameter: lock_timeout"),
            REFUSED + "ignore_startup_parameters = lock_timeout, search_path, options",
            True,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_reason_is_one_line(error: Exception, expected: str, *, is_url: bool) -> None:
    assert (expected, is_url) == (connect_reason(error, SENT), is_about_url(error))
