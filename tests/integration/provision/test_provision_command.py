"""
The command `provision`: exit codes, stdout and stderr.

If these tests fail: an operator cannot create or revoke keys, or a script gets a wrong output or
exit code.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service import apikey

from .conftest import Provision, command_environment

COUNTS = (
    "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM workspaces),"
    " (SELECT count(*) FROM api_keys)"
)


async def test_tenant_create_makes_all_three_and_shows_the_key(
    provision: Provision, connection: Any
) -> None:
    done = provision("tenant", "create", "acme", "--workspace", "web", "--key-name", "k1", "--json")

    made = json.loads(done.stdout)
    row = await connection.fetchrow("SELECT * FROM api_keys WHERE key_id = $1", made["key_id"])
    credential = apikey.parse(made["api_key"])
    assert 0 == done.returncode
    assert made["api_key"] not in done.stderr
    assert ["tenant", "workspace", "key_id", "api_key"] == list(made)
    assert ("acme", "web") == (made["tenant"], made["workspace"])
    assert (made["key_id"], row["secret_sha256"]) == credential
    assert ("k1", None, None) == (row["name"], row["max_batch_events"], row["max_payload_bytes"])


LIMITS = "SELECT max_batch_events, max_payload_bytes, events_per_second FROM api_keys"


async def test_people_see_the_key_of_a_profile_and_that_it_is_shown_once(
    provision: Provision, connection: Any
) -> None:
    done = provision("tenant", "create", "acme", "--profile", "segment")

    assert "api_key    fb1_" in done.stdout
    assert "The key is shown only now; the database stores a hash of it.\n" == done.stderr
    assert (2_500, 524_288, None) == tuple(await connection.fetchrow(LIMITS))


@pytest.mark.parametrize("command", ["tenant", "key"])
@pytest.mark.parametrize("json_flag", [(), ("--json",)])
async def test_without_a_profile_two_lines_say_what_the_limits_mean_and_how_to_change_them(
    provision: Provision, connection: Any, command: str, json_flag: tuple[str, ...]
) -> None:
    done = provision("tenant", "create", "acme", *json_flag)
    if command == "key":
        await connection.execute("DELETE FROM api_keys")
        done = provision("key", "create", "--tenant", "acme", *json_flag)

    key_id = await connection.fetchval("SELECT key_id FROM api_keys")
    meaning, change = done.stderr.splitlines()[-2:]
    assert "50 events and 262144 bytes per request" in meaning
    assert f"provision key update {key_id} --profile segment (2500 events, 524288 bytes)" in change
    assert "--profile rudderstack (2500 events, 4194304 bytes)" in change


@pytest.mark.parametrize("command", [("tenant", "create", "a"), ("key", "create", "--tenant", "a")])
@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (("--profile", "default"), (None, None)),
        (("--profile", "rudderstack"), (2_500, 4_194_304)),
        (("--max-batch-events", "120"), (120, None)),
        (("--profile", "segment", "--max-payload-bytes", "2048"), (2_500, 2_048)),
        (("--profile", "segment", "--max-batch-events", "default"), (None, 524_288)),
        (("--max-batch-events", "10000", "--max-payload-bytes", "16777216"), (10_000, 16_777_216)),
    ],
)
async def test_a_key_is_made_with_limits_of_its_own(
    provision: Provision,
    connection: Any,
    command: tuple[str, ...],
    options: tuple[str, ...],
    stored: tuple[int | None, int | None],
) -> None:
    if command[0] == "key":
        provision("tenant", "create", "a")
        await connection.execute("DELETE FROM api_keys")

    done = provision(*command, *options)

    assert 0 == done.returncode, done.stderr
    assert (*stored, None) == tuple(await connection.fetchrow(LIMITS))
    assert "key update" not in done.stderr


@pytest.mark.usefixtures("tenant")
async def test_limits_of_a_key_are_changed_and_others_stay(
    provision: Provision, connection: Any
) -> None:
    made = provision("key", "create", "--tenant", "acme", "--events-per-second", "7", "--json")
    key_id = json.loads(made.stdout)["key_id"]

    async def update(*options: str) -> tuple[Any, ...]:
        done = provision("key", "update", key_id, *options, "--json")
        assert 0 == done.returncode, done.stderr
        stored = await connection.fetchrow(f"{LIMITS} WHERE key_id = $1", key_id)
        assert {"key_id": key_id, **stored} == json.loads(done.stdout)
        return tuple(stored)

    assert (2_500, 524_288, 7) == await update("--profile", "segment")
    assert (100, 524_288, 7) == await update("--max-batch-events", "100")
    assert (100, None, 0) == await update(
        "--max-payload-bytes", "default", "--events-per-second", "none"
    )
    assert (2_500, 1_024, 0) == await update(
        "--profile", "rudderstack", "--max-payload-bytes", "1024"
    )
    assert (None, None, 0) == await update("--profile", "default")
    others = await connection.fetch(f"{LIMITS} WHERE key_id <> $1", key_id)
    assert [(None, None, None)] == [tuple(row) for row in others]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(("--max-batch-events", text) for text in ("0", "-1", "10001", "1.5", "none", "")),
        *(("--max-payload-bytes", text) for text in ("1023", "16777217", "512KB", "0x400")),
        ("--profile", "mixpanel"),
    ],
)
@pytest.mark.usefixtures("tenant")
def test_a_limit_out_of_its_range_is_refused(provision: Provision, option: str, text: str) -> None:
    for command in (
        ("tenant", "create", "other"),
        ("key", "create", "--tenant", "acme"),
        ("key", "update", "nosuchkey123"),
    ):
        assert 2 == provision(*command, f"{option}={text}").returncode


@pytest.mark.usefixtures("tenant")
async def test_a_taken_name_is_an_error_and_nothing_is_made(
    provision: Provision, connection: Any
) -> None:
    before = await connection.fetchrow(COUNTS)

    done = provision("tenant", "create", "acme", "--workspace", "other", "--json")

    assert (4, "") == (done.returncode, done.stdout)
    assert "provision: the tenant 'acme' exists already; nothing was created\n" == done.stderr
    assert before == await connection.fetchrow(COUNTS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("tenant", "create", "x" * 101),
        ("tenant", "create", "a", "--key-name", "\x1b[31m"),
    ],
)
async def test_a_name_that_is_not_allowed_is_refused_and_nothing_is_made(
    provision: Provision, connection: Any, arguments: tuple[str, ...]
) -> None:
    done = provision(*arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert "a name has 1 to 100 characters" in done.stderr
    assert ascii(arguments[-1])[1:21] in done.stderr
    assert (0, 0, 0) == tuple(await connection.fetchrow(COUNTS))


@pytest.mark.usefixtures("tenant")
def test_workspaces_are_created_and_listed_and_a_taken_name_is_refused(
    provision: Provision,
) -> None:

    assert 0 == provision("workspace", "create", "acme", "web").returncode
    assert 4 == provision("workspace", "create", "acme", "web").returncode
    assert 3 == provision("workspace", "create", "nobody", "web").returncode

    listed = json.loads(provision("workspace", "list", "--json").stdout)
    assert ["default", "web"] == [row["workspace"] for row in listed]


@pytest.mark.usefixtures("tenant")
def test_keys_are_made_listed_and_revoked(provision: Provision) -> None:
    done = provision("key", "create", "--tenant", "acme", "--name", "second", "--json")
    key_id = json.loads(done.stdout)["key_id"]

    assert 0 == provision("key", "revoke", key_id).returncode
    assert "already revoked" in provision("key", "revoke", key_id).stderr
    assert 3 == provision("key", "revoke", "nosuchkey123").returncode
    assert 3 == provision("key", "create", "--tenant", "acme", "--workspace", "no").returncode

    done = provision("key", "list", "--json")
    listed = {row["key_id"]: row for row in json.loads(done.stdout)}
    assert 2 == len(listed)
    assert listed[key_id]["revoked_at"] is not None
    assert "secret" not in done.stdout


@pytest.mark.parametrize(
    ("text", "stored"), [("250", 250), ("1000000", 1_000_000), ("none", 0), ("default", None)]
)
@pytest.mark.usefixtures("tenant")
async def test_the_rate_of_a_key_is_set_when_it_is_made_and_later(
    provision: Provision, connection: Any, text: str, stored: int | None
) -> None:
    query = "SELECT events_per_second FROM api_keys WHERE key_id = $1"
    rate = ("--events-per-second", text)
    done = provision("key", "create", "--tenant", "acme", *rate, "--json")
    made = json.loads(done.stdout)["key_id"]
    plain = json.loads(provision("key", "create", "--tenant", "acme", "--json").stdout)["key_id"]

    assert stored == await connection.fetchval(query, made)
    assert await connection.fetchval(query, plain) is None

    await connection.execute("UPDATE api_keys SET events_per_second = 7")
    done = provision("key", "update", plain, *rate, "--json")

    assert (plain, stored) == tuple(
        json.loads(done.stdout)[name] for name in ("key_id", "events_per_second")
    )
    assert (
        f"key {plain}: events per request: default, bytes per request: default,"
        f" events per second: {text}\n"
    ) == done.stderr
    assert (stored, 7) == (
        await connection.fetchval(query, plain),
        await connection.fetchval(query, made),
    )
    listed = json.loads(provision("key", "list", "--json").stdout)
    assert {7, stored} == {row["events_per_second"] for row in listed}


@pytest.mark.parametrize("text", ["0", "-1", "1000001", "1.5", "0x10", "fast", ""])
@pytest.mark.usefixtures("tenant")
def test_a_rate_that_is_not_a_limit_is_refused(provision: Provision, text: str) -> None:
    for command in (("create", "--tenant", "acme"), ("update", "nosuchkey123")):
        assert 2 == provision("key", *command, "--events-per-second", text).returncode


@pytest.mark.usefixtures("tenant")
def test_without_a_change_or_a_key_an_update_is_refused(provision: Provision) -> None:
    nobody = provision("key", "update", "nosuchkey123", "--events-per-second", "5")

    assert (3, "") == (nobody.returncode, nobody.stdout)
    assert "there is no key with the id 'nosuchkey123'" in nobody.stderr
    nothing = provision("key", "update", "nosuchkey123")
    assert (2, "") == (nothing.returncode, nothing.stdout)
    assert "nothing to change: give --profile, --max-batch-events" in nothing.stderr


@pytest.mark.usefixtures("tenant")
def test_without_a_terminal_lists_are_tab_separated_lines(provision: Provision) -> None:

    lines = provision("tenant", "list").stdout.splitlines()

    assert ["tenant", "workspaces", "keys", "disabled_at", "created_at"] == lines[0].split("\t")
    assert ["acme", "1", "1", "-"] == lines[1].split("\t")[:4]


def test_seed_shows_its_key_once_and_says_so_afterwards(provision: Provision) -> None:
    first = provision("seed", "--json")
    second = provision("seed", "--json")

    assert json.loads(first.stdout)["api_key"].startswith("fb1_")
    assert (0, None) == (second.returncode, json.loads(second.stdout)["api_key"])
    assert "exists already" in second.stderr


@pytest.mark.usefixtures("tenant")
async def test_status_shows_schema_counts_and_partitions(
    provision: Provision, connection: Any
) -> None:
    await connection.execute("SELECT ensure_event_partitions_v1('2026-01-01', '2026-01-03')")

    status = json.loads(provision("status", "--json").stdout)

    assert ([], None) == (status["pending"], status["problem"])
    assert (1, 1, 1) == (status["tenants"], status["workspaces"], status["keys"])
    assert {
        "table_name": "events",
        "partitions": 3,
        "first_day": "20260101",
        "last_day": "20260103",
    } == status["partitions"][0]


async def test_status_names_an_edited_file_and_fails(provision: Provision, connection: Any) -> None:
    await connection.execute("UPDATE schema_checksums SET sha256 = repeat('0', 64)")

    done = provision("status", "--json")

    assert 1 == done.returncode
    assert "was edited after it had been applied" in done.stderr


@pytest.mark.usefixtures("tenant")
async def test_events_tail_shows_the_newest_first_with_ids_in_base36(
    provision: Provision, connection: Any
) -> None:
    await connection.execute("SELECT ensure_event_partitions_v1('2026-01-01', '2026-01-02')")
    await connection.execute(
        "INSERT INTO events (id, tenant_id, workspace_id, event_id, type, event, properties,"
        ' schema_version, request_id, received_at, "timestamp")'
        " SELECT n, tenants.id, workspaces.id, 'e' || n, 'track', E'\\x1b[31m', '{\"n\": 1e2}',"
        " '1.0', 35, t, t FROM tenants JOIN workspaces ON tenant_id = tenants.id,"
        " generate_series(1, 3) AS n,"
        " LATERAL (SELECT timestamptz '2026-01-01 23:00Z' + n * interval '1h') AS at (t)"
    )

    newest = json.loads(provision("events", "tail", "--limit", "2", "--json").stdout)
    table = provision("events", "tail").stdout

    assert ["0000000000003", "0000000000002"] == [row["id"] for row in newest]
    assert ("000000000000z", {"n": 100}) == (newest[0]["request_id"], newest[0]["properties"])
    assert r"\x1b[31m" in table
    assert "\x1b" not in table


def test_a_command_on_an_empty_database_says_to_migrate(
    provision: Provision, bare_database_url: str
) -> None:
    done = provision("tenant", "list", url=bare_database_url)

    assert (1, "") == (done.returncode, done.stdout)
    assert "run `provision migrate`" in done.stderr


@pytest.mark.parametrize("command", [("provision", "status"), ("provision.forebay", "serve")])
def test_without_a_database_a_command_says_what_is_missing(
    command: tuple[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=command_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "DATABASE_URL is not set" in done.stderr
    assert 1 == done.stderr.count("\n")


def test_database_url_is_read_from_dotenv(database_url: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL={database_url}\n")
    done = subprocess.run(
        [sys.executable, "-m", "provision", "tenant", "list", "--json"],
        cwd=tmp_path,
        env=command_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "[]\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize("arguments", [("tenant", "create"), ("events", "tail", "--limit", "0")])
def test_a_mistyped_command_is_a_usage_error(
    provision: Provision, arguments: tuple[str, ...]
) -> None:
    done = provision(*arguments)

    assert (2, "") == (done.returncode, done.stdout)
