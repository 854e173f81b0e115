"""Tenants and their workspaces."""

from typing import Any

import asyncpg

from provision.database import Connection, statement
from provision.errors import NotFoundError, TakenError
from provision.keys import NewKey, Place, Profile, create_key
from provision.names import checked_name


async def create_tenant(
    connection: Connection,
    name: str,
    *,
    workspace: str = "default",
    key_name: str = "default",
    profile: Profile = Profile.DEFAULT,
) -> NewKey:
    """
    Make a tenant, its first workspace and a key for it: all three, or nothing.

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
        place = Place(name, workspace, tenant_id, workspace_id)
        return await create_key(connection, place, key_name, profile)


async def list_tenants(connection: Connection) -> list[dict[str, Any]]:
    """Return every tenant with what it owns."""
    return [dict(row) for row in await connection.fetch(statement("list_tenants"))]


async def create_workspace(connection: Connection, tenant: str, name: str) -> Place:
    """
    Make a workspace.

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
            f"tenant {tenant!a} has already a workspace {name!a}; nothing was made"
        ) from None
    return Place(tenant, name, tenant_id, workspace_id)


async def list_workspaces(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """Return every workspace, or those of one tenant."""
    return [dict(row) for row in await connection.fetch(statement("list_workspaces"), tenant)]


async def find_workspace(connection: Connection, tenant: str, workspace: str) -> Place:
    """
    Look a workspace up by the two names.

    Raises
    ------
    NotFoundError
        One of the two does not exist.
    """
    tenant_id = await _tenant_id(connection, tenant)
    workspace_id = await connection.fetchval(statement("find_workspace"), tenant_id, workspace)
    if workspace_id is None:
        raise NotFoundError(f"tenant {tenant!a} has no workspace {workspace!a}")
    return Place(tenant, workspace, tenant_id, workspace_id)


async def _tenant_id(connection: Connection, name: str) -> Any:
    tenant_id = await connection.fetchval(statement("find_tenant"), name)
    if tenant_id is None:
        raise NotFoundError(f"there is no tenant {name!a}")
    return tenant_id
