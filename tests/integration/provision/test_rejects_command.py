"""
The command `provision rejects list`.

If these tests fail: an operator does not find out why events of a sender are not stored.
"""

import json
from typing import Any, Final

import pytest

from provision.keys import NewKey, Profile, WorkspaceRow, create_key
from tests.conftest import MakeTenant

from .conftest import Provision

INSERT: Final = (
    "INSERT INTO rejected_events (id, tenant_id, workspace_id, event_id, code, field, message,"
    " payload, request_id, received_at, key_id)"
    " SELECT $1::int, $2, $3, concat('e', $1::int), $4, $5, $6, $7, 35,"
    " now() - $8::text::interval, $9"
)


class Quarantine:
    """Puts rejected events into the quarantine."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._rows = 0

    async def start(self) -> None:
        days = "ensure_event_partitions_v1(current_date - 3, current_date + 1)"
        await self._connection.execute(f"SELECT {days}")

    async def put(
        self,
        key: NewKey,
        code: str = "missing_field",
        field: str | None = "event",
        *,
        age: str = "1 minute",
        payload: bytes = b"{}",
        has_key: bool = True,
    ) -> None:
        self._rows += 1
        key_id = key.key_id if has_key else None
        place = (key.tenant_id, key.workspace_id)
        message = f"message {self._rows}"
        await self._connection.execute(
            INSERT, self._rows, *place, code, field, message, payload, age, key_id
        )


@pytest.fixture
async def quarantine(connection: Any) -> Quarantine:
    made = Quarantine(connection)
    await made.start()
    return made


async def test_each_reason_is_shown_with_its_newest_event(
    provision: Provision, quarantine: Quarantine, tenant: NewKey
) -> None:
    await quarantine.put(tenant, age="30 minutes")
    await quarantine.put(tenant, age="10 minutes", payload=b'{"user_id": "u1"}')
    await quarantine.put(tenant, age="20 minutes")
    await quarantine.put(tenant, field="user_id")
    await quarantine.put(tenant, "content_differs", None, payload=b"\xff\x00")
    await quarantine.put(tenant, age="2 hours")

    done = provision("rejects", "list", "--key", tenant.key_id, "--since", "1h", "--json")

    first, *others = json.loads(done.stdout)
    assert 0 == done.returncode
    assert ("acme", "default", tenant.key_id, "missing_field", "event", 3) == tuple(
        first[name] for name in ("tenant", "workspace", "key_id", "code", "field", "events")
    )
    assert first["first_at"] < first["last_at"]
    assert {
        "event_id": "e2",
        "request_id": "000000000000z",
        "message": "message 2",
        "payload": '{"user_id": "u1"}',
    } == first["example"]
    assert {("missing_field", "user_id", 1), ("content_differs", None, 1)} == {
        (row["code"], row["field"], row["events"]) for row in others
    }
    (conflict,) = (row for row in others if row["field"] is None)
    assert "\ufffd\0" == conflict["example"]["payload"]


async def test_a_person_sees_one_field_per_line_and_no_control_characters(
    provision: Provision, quarantine: Quarantine, tenant: NewKey
) -> None:
    await quarantine.put(tenant, payload=b"\x1b[31m" + b"x" * 10_000)
    await quarantine.put(tenant, "too_deep")

    done = provision("rejects", "list", "--key", tenant.key_id)

    assert "code        missing_field" in done.stdout
    assert "message     message 1" in done.stdout
    assert r"\x1b[31mxxx" in done.stdout
    assert "\x1b" not in done.stdout
    assert len(done.stdout) < 2_000
    assert "request_refused" in done.stderr


async def test_only_events_of_the_key_are_shown_and_those_without_a_key(
    provision: Provision, quarantine: Quarantine, make_tenant: MakeTenant, connection: Any
) -> None:
    one, stranger = await make_tenant("one"), await make_tenant("stranger")
    place = WorkspaceRow(one.tenant, one.workspace, one.tenant_id, one.workspace_id)
    second = await create_key(connection, place, "second", Profile.DEFAULT)
    await quarantine.put(one, "invalid_field")
    await quarantine.put(second, "invalid_number")
    await quarantine.put(one, "invalid_text", has_key=False)
    await quarantine.put(stranger, "too_deep")
    await quarantine.put(stranger, "too_deep", has_key=False)

    def codes(*arguments: str) -> set[str]:
        done = provision("rejects", "list", *arguments, "--json")
        return {row["code"] for row in json.loads(done.stdout)}

    assert {"invalid_field", "invalid_text"} == codes("--key", one.key_id)
    assert {"invalid_field", "invalid_text"} == codes("--key", one.api_key)
    assert {"invalid_number", "invalid_text"} == codes("--key", second.key_id)
    assert {"invalid_field", "invalid_number", "invalid_text"} == codes("--tenant", "one")
    assert {"invalid_field", "invalid_number", "invalid_text", "too_deep"} == codes()


async def test_the_most_frequent_reasons_come_first_and_are_limited(
    provision: Provision, quarantine: Quarantine, tenant: NewKey
) -> None:
    for count, field in ((1, "a"), (3, "b"), (2, "c")):
        for _ in range(count):
            await quarantine.put(tenant, "invalid_text", field)

    done = provision("rejects", "list", "--limit", "2", "--json")

    assert ["b", "c"] == [row["field"] for row in json.loads(done.stdout)]
    assert "--limit shows more" in done.stderr


@pytest.mark.usefixtures("tenant")
def test_without_rejected_events_the_command_says_so(provision: Provision) -> None:
    done = provision("rejects", "list", "--json")

    assert (0, "[]\n") == (done.returncode, done.stdout)
    assert "no rejected events in this time" in done.stderr


def test_a_key_or_tenant_that_does_not_exist_is_an_error(
    provision: Provision, tenant: NewKey
) -> None:
    nobody = provision("rejects", "list", "--key", "nosuchkey123")
    mistyped = provision("rejects", "list", "--key", tenant.api_key[:-1])

    assert 3 == nobody.returncode
    assert "there is no key with the id 'nosuchkey123'" in nobody.stderr
    assert 3 == mistyped.returncode
    assert tenant.api_key[:-1] not in mistyped.stderr
    assert 3 == provision("rejects", "list", "--tenant", "nobody").returncode
    assert 3 == provision("rejects", "list", "--tenant", "x", "--key", tenant.key_id).returncode


@pytest.mark.parametrize("text", ["0h", "1", "1w", "-1h", "1.5h", "yesterday", ""])
def test_a_time_that_is_not_a_duration_is_refused(provision: Provision, text: str) -> None:
    done = provision("rejects", "list", f"--since={text}")

    assert 2 == done.returncode
