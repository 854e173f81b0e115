"""API keys: create, list, update, revoke. The database stores only a hash of a key."""

import enum
from typing import Any, Final, NamedTuple

import msgspec

from provision.database import Connection, statement
from provision.errors import NotFoundError
from provision.names import checked_name
from service import apikey
from service.model import PROFILE_LIMITS


class Profile(enum.StrEnum):
    """The kind of client that uses a key. It selects the limits of a request (PROFILE_LIMITS)."""

    DEFAULT = "default"
    SEGMENT = "segment"
    RUDDERSTACK = "rudderstack"


LIMIT_COLUMNS: Final = ("max_batch_events", "max_payload_bytes", "events_per_second")
StoredLimits = dict[str, int | None]
"""Some of LIMIT_COLUMNS. None: the setting of the service applies; a rate of 0: no limit."""


class NewKey(msgspec.Struct, frozen=True):
    """A new key. `api_key` is its text, which is not stored: only the creator sees it."""

    tenant: str
    workspace: str
    key_id: str
    api_key: str
    tenant_id: int
    workspace_id: int

    def __repr__(self) -> str:
        # Without `api_key`, because logs and tracebacks may contain this text.
        return f"NewKey({self.tenant}/{self.workspace}, {self.key_id})"


class WorkspaceRow(NamedTuple):
    """The names and ids of a workspace and its tenant."""

    tenant: str
    workspace: str
    tenant_id: int
    workspace_id: int


def limits_of(profile: Profile) -> StoredLimits:
    """Return the limits of a request that a profile stands for."""
    limits = PROFILE_LIMITS[profile]
    values = (None, None) if limits is None else (limits.events_max, limits.bytes_max)
    return dict(zip(LIMIT_COLUMNS, values, strict=False))


async def create_key(
    connection: Connection,
    workspace: WorkspaceRow,
    name: str,
    profile: Profile,
    **limits: int | None,
) -> NewKey:
    """
    Create a key for the workspace.

    *limits* (StoredLimits) have precedence over those of *profile*.

    Raises
    ------
    InvalidError
        The name is not valid.
    """
    checked_name("key", name)
    minted = apikey.mint()
    stored = limits_of(profile) | limits
    await connection.execute(
        statement("insert_key"),
        minted.credential.key_id,
        workspace.tenant_id,
        workspace.workspace_id,
        minted.credential.secret_sha256,
        name,
        *(stored.get(column) for column in LIMIT_COLUMNS),
    )
    return NewKey(
        tenant=workspace.tenant,
        workspace=workspace.workspace,
        key_id=minted.credential.key_id,
        api_key=minted.text,
        tenant_id=workspace.tenant_id,
        workspace_id=workspace.workspace_id,
    )


async def list_keys(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """Return the keys of all tenants, or of one tenant, without secrets."""
    return [dict(row) for row in await connection.fetch(statement("list_keys"), tenant)]


async def update_key(connection: Connection, key_id: str, **limits: int | None) -> StoredLimits:
    """
    Change *limits* (StoredLimits) of a key, and notify the workers; return all its limits.

    Raises
    ------
    NotFoundError
        There is no key with this id.
    """
    changes = msgspec.json.encode(limits).decode()
    row = await connection.fetchrow(statement("update_key"), key_id, changes)
    if row is None:
        raise _not_found(key_id)
    return dict(row)


async def revoke_key(connection: Connection, key_id: str) -> bool:
    """
    Revoke a key and notify the workers; return False if the key was already revoked.

    Raises
    ------
    NotFoundError
        There is no key with this id.
    """
    if await connection.execute(statement("revoke_key"), key_id) == "UPDATE 1":
        return True
    if await connection.fetchrow(statement("find_key"), key_id) is None:
        raise _not_found(key_id)
    return False


async def is_usable(connection: Connection, text: str, tenant: str) -> bool:
    """Return whether the key is valid and belongs to the tenant."""
    credential = apikey.parse(text)
    if credential is None:
        return False
    row = await connection.fetchrow(
        statement("find_usable_key"), credential.key_id, credential.secret_sha256, tenant
    )
    return row is not None


def _not_found(key_id: str) -> NotFoundError:
    return NotFoundError(f"there is no key with the id {key_id!a}")
