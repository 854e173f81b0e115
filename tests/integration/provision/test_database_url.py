"""
DATABASE_URL in the commands, with a real server.

If these tests fail: a command prints a password, or cannot connect with a URL that is supported.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from provision.migrate import migrate
from service.config import Config
from service.store.connections import connect, pool_config
from tests.acceptance.own_postgres import OwnPostgres, lent_postgres

from .conftest import Provision, command_environment, make_open_folder

CANARY = "cAnArY"
ROUNDABOUT = (
    "?sslmode=prefer&channel_binding=prefer&gssencmode=prefer&keepalives=1&connect_timeout=9"
    "&application_name=mine&target_session_attrs=read-write&search_path=public"
    "&options=-c%20jit%3Doff"
)
COMMANDS = [("provision", "status"), ("provision.forebay", "dev"), ("service",)]
REFUSED = [
    f"postgresql://u:{CANARY}?{CANARY}@127.0.0.1:5432/x",
    f"postgresql://u@127.0.0.1:1/x?password={CANARY}&{CANARY}=1",
]


@pytest.mark.parametrize("command", COMMANDS, ids="-".join)
def test_no_command_prints_a_part_of_a_password(command: tuple[str, ...], tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=command_environment(DATABASE_URL=url, FOREBAY_LOG_LEVEL="debug"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for url in REFUSED
    ]
    for url, process in zip(REFUSED, processes, strict=True):
        output, errors = process.communicate(timeout=100)
        assert CANARY not in output + errors, url
        assert (1, 1, "") == (process.returncode, errors.count("\n"), output), errors


@pytest.mark.parametrize("command", ["status", "migrate"])
def test_an_unreachable_server_is_reported_in_one_sentence_without_the_password(
    provision: Provision, command: str
) -> None:
    done = provision(command, url=f"postgresql://u:{CANARY}@127.0.0.1:1,[::1]:1/x")

    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert "cannot connect to the database at 127.0.0.1:1,[::1]:1/x: " in done.stderr
    assert CANARY not in done.stderr


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("no_such_setting=1", 'parameter "no_such_setting"; change or remove this parameter'),
        ("synchronous_commit=maybe", "synchronous_commit"),
    ],
)
def test_a_parameter_that_the_server_refuses_is_named_in_one_sentence(
    provision: Provision, database_url: str, parameter: str, words: str
) -> None:
    done = provision("status", url=f"{database_url}?{parameter}")

    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert words in done.stderr


async def test_every_parameter_that_is_supported_works_from_migrate_to_a_session(
    bare_database_url: str,
) -> None:
    url = bare_database_url + ROUNDABOUT

    assert await migrate(url)
    session = await connect(pool_config(Config(), url))
    shown = [await session.fetchval(f"SHOW {name}") for name in ("jit", "application_name")]
    session.terminate()

    assert ["off", "mine"] == shown


async def test_of_several_hosts_the_one_that_answers_is_migrated(bare_database_url: str) -> None:
    parts = urlsplit(bare_database_url)
    login, _, host = parts.netloc.rpartition("@")
    url = parts._replace(netloc=f"{login}@127.0.0.1:1,{host}").geturl()

    assert await migrate(url)
    assert [] == await migrate(url)


@pytest.fixture(scope="module")
def socket_postgres() -> Iterator[tuple[OwnPostgres, Path]]:
    """A server that also listens on a Unix socket."""
    with make_open_folder() as folder:
        folder.chmod(0o777)
        with lent_postgres(unix_socket_directories=str(folder)) as own:
            yield own, folder


@pytest.mark.parametrize("way", ["parameter", "authority"])
async def test_a_socket_works_with_the_password_of_a_file(
    socket_postgres: tuple[OwnPostgres, Path], tmp_path: Path, way: str
) -> None:
    own, folder = socket_postgres
    server = urlsplit(own.server.url())
    async with own.admin() as admin:
        await admin.execute(f"CREATE DATABASE by_{way}")
    passfile = tmp_path / "passfile"
    passfile.write_text(f"*:*:*:postgres:{server.password}\n")
    passfile.chmod(0o600)
    path = str(folder).replace("/", "%2F")
    url = {
        "parameter": f"postgresql://postgres@/by_{way}?host={folder}&port={server.port}",
        "authority": f"postgresql://postgres@{path}:{server.port}/by_{way}?",
    }[way]

    assert await migrate(f"{url}&passfile={passfile}")
    assert "PGPASSFILE" not in os.environ
