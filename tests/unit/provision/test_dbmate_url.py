"""The URL for dbmate: what our own connection has reached, in words that its driver knows."""

import pytest

from provision.dbmate_url import Reached, dbmate_url
from service.database_url import parse

APPLICATION = "application_name=forebay%20provision%20migrate"
TARGET = Reached(("h", 1), "u", "p@", "d", "prefer", has_ssl=False)


@pytest.mark.parametrize(
    ("ssl_mode", "has_ssl", "expected"),
    [
        ("prefer", False, "disable"),
        ("prefer", True, "require"),
        ("allow", True, "require"),
        ("disable", False, "disable"),
        ("require", True, "require"),
        ("verify-ca", True, "verify-ca"),
        ("verify-full", True, "verify-full"),
    ],
)
def test_dbmate_connects_as_encrypted_as_we_did(
    ssl_mode: str, has_ssl: bool, expected: str
) -> None:
    target = TARGET._replace(ssl_mode=ssl_mode, has_ssl=has_ssl)

    url = dbmate_url(target, parse("postgresql://h"))

    assert f"postgres://u:p%40@h:1/d?sslmode={expected}&{APPLICATION}" == url


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("::1", 2), "postgres://u:p%40@[::1]:2/d?sslmode=disable&"),
        ("/run/pg/.s.PGSQL.7", "postgres://u:p%40@:7/d?sslmode=disable&host=%2Frun%2Fpg&"),
    ],
)
def test_dbmate_gets_the_one_address_that_was_reached(
    address: tuple[str, int] | str, expected: str
) -> None:
    url = dbmate_url(TARGET._replace(address=address), parse("postgresql://a,b,c/other"))

    assert expected + APPLICATION == url


def test_dbmate_gets_settings_of_the_server_and_nothing_that_only_asyncpg_knows() -> None:
    parsed = parse(
        "postgresql://h/d?target_session_attrs=any&ssl_min_protocol_version=TLSv1.2"
        "&connect_timeout=3&channel_binding=prefer&keepalives=1&gsslib=gssapi"
        "&search_path=a%2Cb&options=-c%20x%3Dy&application_name=mine"
    )

    assert (
        "postgres://u:p%40@h:1/d?sslmode=disable&search_path=a%2Cb&options=-c%20x%3Dy"
        "&application_name=mine"
    ) == dbmate_url(TARGET, parsed)
