"""Tenants and their workspaces, and the demo tenant."""

from typing import Any, Final

import asyncpg

from provision.database import Connection, statement
from provision.errors import NotFoundError, TakenError
from provision.keys import NewKey, Profile, WorkspaceRow, create_key, is_usable
from provision.names import checked_name

DEMO_TENANT: Final = "demo"
_DEMO_WORKSPACE: Final = "default"
_DEMO_KEY_NAME: Final = "demo"


async def create_tenant(
    connection: Connection,
    name: str,
    *,
    workspace: str = "default",
    key_name: str = "default",
    profile: Profile = Profile.DEFAULT,
) -> NewKey:
    """
    Create a tenant, its first workspace and a key, in one transaction.

    Raises
    ------
    InvalidError
        One of the names is not allowed.
    TakenError
        There is a tenant of this name.
    """
    checked_name("tenant", name)
    checked_name("workspace", workspace)
    checked_name("key", key_name)
    async with connection.transaction():
        try:
            tenant_id = await connection.fetchval(statement("insert_tenant"), name)
        except asyncpg.UniqueViolationError:
            raise TakenError(f"there is already a tenant {name!a}; nothing was made") from None
        workspace_id = await connection.fetchval(
            statement("insert_workspace"), tenant_id, workspace
        )
        made = WorkspaceRow(name, workspace, tenant_id, workspace_id)
        return await create_key(connection, made, key_name, profile)


async def list_tenants(connection: Connection) -> list[dict[str, Any]]:
    """Return each tenant, with the counts of its workspaces and keys."""
    return [dict(row) for row in await connection.fetch(statement("list_tenants"))]


async def create_workspace(connection: Connection, tenant: str, name: str) -> WorkspaceRow:
    """
    Create a workspace.

    Raises
    ------
    InvalidError, NotFoundError, TakenError
        The name is not allowed; there is no such tenant; the tenant has one of this name.
    """
    checked_name("workspace", name)
    tenant_id = await _tenant_id(connection, tenant)
    try:
        workspace_id = await connection.fetchval(statement("insert_workspace"), tenant_id, name)
    except asyncpg.UniqueViolationError:
        raise TakenError(
            f"tenant {tenant!a} already has a workspace {name!a}; nothing was made"
        ) from None
    return WorkspaceRow(tenant, name, tenant_id, workspace_id)


async def list_workspaces(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """Return every workspace, or those of one tenant."""
    return [dict(row) for row in await connection.fetch(statement("list_workspaces"), tenant)]


async def find_workspace(connection: Connection, tenant: str, workspace: str) -> WorkspaceRow:
    """
    Find a workspace by the names of its tenant and its own.

    Raises
    ------
    NotFoundError
        One of the two does not exist.
    """
    tenant_id = await _tenant_id(connection, tenant)
    workspace_id = await connection.fetchval(statement("find_workspace"), tenant_id, workspace)
    if workspace_id is None:
        raise NotFoundError(f"tenant {tenant!a} has no workspace {workspace!a}")
    return WorkspaceRow(tenant, workspace, tenant_id, workspace_id)


async def _tenant_id(connection: Connection, name: str) -> Any:
    tenant_id = await connection.fetchval(statement("find_tenant"), name)
    if tenant_id is None:
        raise NotFoundError(f"there is no tenant {name!a}")
    return tenant_id


async def seed(connection: Connection) -> NewKey | None:
    """Create the demo tenant with its key; return None when the tenant exists."""
    try:
        return await create_tenant(
            connection,
            DEMO_TENANT,
            workspace=_DEMO_WORKSPACE,
            key_name=_DEMO_KEY_NAME,
            # SDKs work with their default batch size.
            profile=Profile.SEGMENT,
        )
    except TakenError:
        return None


async def working_key(connection: Connection, remembered: str) -> str:
    """Return the text of a valid demo key: the remembered one, or a new one."""
    if await is_usable(connection, remembered, DEMO_TENANT):
        return remembered
    made = await seed(connection) or await _another_key(connection)
    return made.api_key


async def _another_key(connection: Connection) -> NewKey:
    try:
        workspace = await find_workspace(connection, DEMO_TENANT, _DEMO_WORKSPACE)
    except NotFoundError:
        workspace = await create_workspace(connection, DEMO_TENANT, _DEMO_WORKSPACE)
    return await create_key(connection, workspace, _DEMO_KEY_NAME, Profile.SEGMENT)
