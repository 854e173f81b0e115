"""
DATABASE_URL: supported forms, refused forms, and messages without the password.

If these tests fail: a valid URL is refused, a parameter such as sslmode is ignored, or a password
gets into a log.
"""

import importlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from service import config
from service.config import ConfigError
from service.database_url import DatabaseUrlError, parse

CANARY = "cAnArY"
SPECIAL = ["@", ":", "/", "?", "#", "%", "[", "]", "&", "=", "%4", "%zz", "%ff", "\t", "\n", "\\"]
SPECIAL += ["@@", "?=", "?a=", "#@", "/@", ":@", "://", "[::1]", ",", "%00", "é", " "]
TEMPLATES = [
    "postgresql://u:{}@127.0.0.1:5432/x",
    "postgresql://u:{}@127.0.0.1:5432/x?sslmode=prefer",
    "postgresql://u:{}@[::1]:5432,h:1/x",
    "postgresql://u:{}",
    "postgresql://u:{}@",
    "postgresql://u@h/x?password={}",
    "postgresql://u@h/x?password={}&sslmode=disable",
    "postgresql://u:{}@h:port/x",
    "postgresql://u:{}@h:99999/x",
    "postgresql://u:{}@h/x?sslmode=wrong",
    "postgresql://u:{}@h/x?keepalives_idle=3",
    "postgresql://u:{}@h/x?sslrootcert=/no/such/file",
    "postgresql:/u:{}@h/x",
    "postgres:u:{}@h/x",
    "mysql://u:{}@h/x",
    "host=h user=u password={}",
    "{}",
]
PASSWORDS = [
    *(f"{CANARY}{special}{CANARY}" for special in SPECIAL),
    *(f"{special}{CANARY}" for special in SPECIAL),
    *(f"{CANARY}{special}" for special in SPECIAL),
    f"1?{CANARY}=1",
    f"1?{CANARY}=1&{CANARY}=2",
    f"{CANARY}&{CANARY}=1",
]
CASES = [
    template.format(word)
    for template, word in itertools.product(TEMPLATES, PASSWORDS)
    # Without its host, a URL whose password contains an @ is another complete URL.
    if not (template.endswith("u:{}") and word.count("@") == 1)
]


def resolved(text: str) -> tuple[Any, Any]:
    """Return the addresses and parameters that asyncpg uses for the URL."""
    given = dict.fromkeys(("host", "port", "user", "password", "passfile", "database", "ssl"))
    given |= dict.fromkeys(("service", "servicefile", "direct_tls", "server_settings"))
    given |= dict.fromkeys(("target_session_attrs", "krbsrvname", "gsslib"))
    read = importlib.import_module("asyncpg.connect_utils")._parse_connect_dsn_and_args
    addresses, parameters = read(dsn=parse(text).url, **given)
    return addresses, parameters


def test_no_message_contains_a_part_of_a_password() -> None:
    refused = 0
    for text in CASES:
        try:
            parsed = parse(text)
            shown = parsed.place + repr(parsed)
        except DatabaseUrlError as error:
            refused += 1
            shown = f"{error} {error.__cause__}"
        assert CANARY not in shown, text
        assert shown.isprintable(), text

    assert len(CASES) / 4 < refused < len(CASES)


def test_every_refusal_is_a_sentence_about_the_variable_database_url() -> None:
    said = set()
    for text in CASES:
        try:
            config.database_url({"DATABASE_URL": text})
        except ConfigError as error:
            said.add(str(error).partition(" is")[0].partition(":")[0])

    assert {"DATABASE_URL"} == said


@pytest.mark.parametrize("password", [word for word in PASSWORDS if word.isprintable()])
def test_an_encoded_password_arrives_as_it_is(password: str) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in password.encode())

    if "%00" not in password:
        for text in (f"postgresql://u:{encoded}@h/x", f"postgresql://u@h/x?password={encoded}"):
            _, parameters = resolved(text)
            assert ("u", password, "x") == parameters[:3]


@pytest.mark.parametrize(
    ("text", "addresses", "place"),
    [
        ("postgresql://h/d", [("h", 5432)], "h:5432/d"),
        ("postgres://u:p@h:1/d", [("h", 1)], "h:1/d"),
        ("postgresql://[::1]:2/d", [("::1", 2)], "[::1]:2/d"),
        ("postgresql://a:1,b:2/d", [("a", 1), ("b", 2)], "a:1,b:2/d"),
        ("postgresql://a,b/d?port=7", [("a", 7), ("b", 7)], "a:7,b:7/d"),
        ("postgresql:///d?host=a,b&port=1,2", [("a", 1), ("b", 2)], "a:1,b:2/d"),
        ("postgresql:///d?host=/run/pg", ["/run/pg/.s.PGSQL.5432"], "/run/pg:5432/d"),
        ("postgresql://%2Frun%2Fpg:6/d", ["/run/pg/.s.PGSQL.6"], "/run/pg:6/d"),
        ("postgresql://ignored/d?host=a", [("a", 5432)], "a:5432/d"),
        ("  postgresql://h/d\n", [("h", 5432)], "h:5432/d"),
    ],
)
def test_hosts_are_found_wherever_they_are_written(
    text: str, addresses: list[Any], place: str
) -> None:
    assert (addresses, place) == (resolved(text)[0], parse(text).place)
    assert addresses == resolved(parse(text).url)[0]


def test_without_a_host_the_environment_and_the_local_sockets_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses, _ = resolved("postgresql://u@:5433/d")
    assert "/run/postgresql/.s.PGSQL.5433" in addresses

    monkeypatch.setenv("PGHOST", "db.internal")
    assert "db.internal/d" == parse("postgresql:///d").place
    assert [("db.internal", 5432)] == resolved("postgresql:///d")[0]


def test_of_several_hosts_the_primary_is_used() -> None:
    assert "primary" == resolved("postgresql://a,b/d")[1].target_session_attrs
    assert "any" == resolved("postgresql://a,b/d?target_session_attrs=any")[1].target_session_attrs
    assert "any" == resolved("postgresql://a/d")[1].target_session_attrs


def test_parameters_of_the_driver_and_of_the_server_are_separated() -> None:
    parsed = parse(
        "postgresql://u:p@h/d?sslmode=require&search_path=a%2Cb&synchronous_commit=remote_apply"
        "&application_name=orders&connect_timeout=5&options=-c%20jit%3Doff"
        "&channel_binding=prefer&gssencmode=disable&keepalives=1&client_encoding=utf8"
    )

    settings = {
        "search_path": "a,b",
        "synchronous_commit": "remote_apply",
        "options": "-c jit=off",
    }
    assert "require" == resolved(parsed.url)[1].sslmode.name
    assert settings == parsed.server_settings
    assert settings == resolved(parsed.url)[1].server_settings
    assert ("orders", 5.0) == (parsed.application_name, parsed.connect_timeout_s)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("connect_timeout=0", "connect_timeout has to be a whole number of seconds from 1 to 60"),
        ("connect_timeout=1.5", "connect_timeout"),
        ("channel_binding=require", "channel_binding but disable or prefer: remove it"),
        ("gssencmode=require", "gssencmode but disable or prefer: remove it"),
        ("keepalives=0", "FOREBAY_TCP_TIMEOUT_MS"),
        ("keepalives_idle=30", "FOREBAY_TCP_TIMEOUT_MS"),
        ("tcp_user_timeout=30", "FOREBAY_TCP_TIMEOUT_MS"),
        ("statement_timeout=5s", "FOREBAY_STATEMENT_TIMEOUT_MS"),
        ("lock_timeout=5s", "FOREBAY_LOCK_TIMEOUT_MS"),
        ("hostaddr=10.0.0.1", "write the address as the host"),
        ("sslmode=on", "sslmode has to be disable or allow or prefer"),
        ("sslmode=parse", "sslmode has to be"),
        ("ssl=true", "use sslmode=require"),
        ("schema=public", "use search_path"),
        ("pgbouncer=true", "session mode"),
        ("sslrootcert=/no/such", "the file of sslrootcert cannot be read (No such file"),
        ("sslrootcert=system", "/etc/ssl/certs"),
        ("passfile=/no/such", "passfile"),
        ("target_session_attrs=standby", "target_session_attrs has to be any or primary"),
        ("ssl_min_protocol_version=SSLv3", "ssl_min_protocol_version has to be TLSv1"),
        ("load_balance_hosts=random", "load_balance_hosts"),
        ("client_encoding=latin1", "client_encoding has to be utf8"),
        ("replication=true", "replication has to be false"),
        ("require_auth=md5", "require_auth"),
        ("port=1,2", "has 2 ports for 1 hosts"),
        ("sslmode", "a parameter after the ? has no value"),
        ("a-b=1", "not a parameter of PostgreSQL"),
    ],
)
def test_an_unsupported_parameter_is_named_with_what_to_do(parameter: str, words: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        parse(f"postgresql://u:{CANARY}@h/d?{parameter}")

    assert words in str(caught.value)
    assert CANARY not in str(caught.value)


def test_every_parameter_of_libpq_is_understood_or_refused_by_name(tmp_path: Path) -> None:
    """None of them is sent to the server as a setting, except `options`."""
    file = tmp_path / "file"
    file.touch()
    for name in LIBPQ:
        try:
            to_server = set(parse(f"postgresql:///?{name}={file}").server_settings)
        except DatabaseUrlError as error:
            to_server = set()
            named = name in str(error)
        else:
            named = True
        assert named, name
        assert {"options"} >= to_server, name


# Of PostgreSQL 18, https://www.postgresql.org/docs/18/libpq-connect.html
LIBPQ = [
    *("host", "hostaddr", "port", "dbname", "user", "password", "passfile"),
    *("require_auth", "channel_binding", "connect_timeout", "client_encoding"),
    *("options", "application_name", "fallback_application_name", "keepalives"),
    *("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    *("replication", "gssencmode", "sslmode", "requiressl", "sslnegotiation"),
    *("sslcompression", "sslcert", "sslkey", "sslkeylogfile", "sslpassword"),
    *("sslcertmode", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "requirepeer"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version"),
    *("max_protocol_version", "krbsrvname", "gsslib", "gssdelegation"),
    *("scram_client_key", "scram_server_key", "service", "servicefile"),
    *("target_session_attrs", "load_balance_hosts", "oauth_issuer", "oauth_client_id"),
    *("oauth_client_secret", "oauth_scope"),
]
