"""
Notifications about changed keys, which contain the id of the key.

If these tests fail: a revoked key is accepted until its cache entry expires.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from provision.keys import NewKey
from tests.conftest import MakeTenant


class Listener:
    """Listens on the channel; `heard` returns the notifications before a mark that it sends."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._payloads: asyncio.Queue[str] = asyncio.Queue()

    async def start(self) -> None:
        await self._connection.add_listener("forebay_keys", self._on_payload)

    def _on_payload(self, *arguments: Any) -> None:
        self._payloads.put_nowait(arguments[3])

    async def heard(self) -> list[str]:
        # Notifications arrive in the order of commits, so none can follow the mark.
        await self._connection.execute("SELECT pg_notify('forebay_keys', 'mark')")
        payloads: list[str] = []
        while (payload := await self._payloads.get()) != "mark":
            payloads.append(payload)
        return payloads


@pytest.fixture
async def listener(database_url: str) -> AsyncIterator[Listener]:
    connection = await asyncpg.connect(database_url)
    listening = Listener(connection)
    await listening.start()
    yield listening
    connection.terminate()


async def test_a_new_key_is_announced(listener: Listener, tenant: NewKey) -> None:
    assert [tenant.key_id] == await listener.heard()


@pytest.mark.parametrize(
    "change",
    [
        "revoked_at = now()",
        "expires_at = now()",
        "max_batch_events = 1",
        "max_payload_bytes = 1",
        "events_per_second = 1",
        "secret_sha256 = sha256('')",
    ],
)
async def test_a_change_that_affects_authentication_or_limits_is_announced(
    listener: Listener, tenant: NewKey, connection: Any, change: str
) -> None:
    await listener.heard()

    await connection.execute(f"UPDATE api_keys SET {change}")

    assert [tenant.key_id] == await listener.heard()


async def test_use_of_a_key_is_not_announced(
    listener: Listener, tenant: NewKey, connection: Any
) -> None:
    await listener.heard()

    tag = await connection.execute(
        "UPDATE api_keys SET last_used_at = now() WHERE key_id = $1", tenant.key_id
    )

    assert "UPDATE 1" == tag
    assert [] == await listener.heard()


async def test_a_deleted_key_is_announced(
    listener: Listener, tenant: NewKey, connection: Any
) -> None:
    await listener.heard()

    await connection.execute("DELETE FROM api_keys")

    assert [tenant.key_id] == await listener.heard()


async def test_a_renamed_key_is_announced_under_both_ids(
    listener: Listener, tenant: NewKey, connection: Any
) -> None:
    await listener.heard()

    await connection.execute("UPDATE api_keys SET key_id = 'abcdefghijkl'")

    assert {tenant.key_id, "abcdefghijkl"} == set(await listener.heard())


async def test_a_disabled_tenant_announces_its_own_keys_only(
    listener: Listener, tenant: NewKey, make_tenant: MakeTenant, connection: Any
) -> None:
    await make_tenant("other")
    await listener.heard()

    await connection.execute("UPDATE tenants SET disabled_at = now() WHERE name = 'acme'")

    assert [tenant.key_id] == await listener.heard()


async def test_a_key_cannot_refer_to_a_workspace_of_another_tenant(
    tenant: NewKey, make_tenant: MakeTenant, connection: Any
) -> None:
    other = await make_tenant("other")

    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(
            "UPDATE api_keys SET workspace_id = $1 WHERE key_id = $2",
            other.workspace_id,
            tenant.key_id,
        )
