"""Tenants and their workspaces, and the demo tenant."""

from typing import Any, Final

import asyncpg

from provision.database import Connection, statement
from provision.errors import NotFoundError, TakenError
from provision.keys import (
    NewKey,
    Profile,
    StoredLimits,
    WorkspaceRow,
    create_key,
    is_usable,
)
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
    limits: StoredLimits | None = None,
) -> NewKey:
    """
    Create a tenant, its first workspace and a key, in one transaction.

    *profile* and *limits*, which have precedence, are those of the key.

    Raises
    ------
    InvalidError
        One of the names is not valid.
    TakenError
        A tenant with this name exists already.
    """
    checked_name("tenant", name)
    checked_name("workspace", workspace)
    checked_name("key", key_name)
    async with connection.transaction():
        try:
            tenant_id = await connection.fetchval(statement("insert_tenant"), name)
        except asyncpg.UniqueViolationError:
            raise TakenError(f"the tenant {name!a} exists already; nothing was created") from None
        workspace_id = await connection.fetchval(
            statement("insert_workspace"), tenant_id, workspace
        )
        made = WorkspaceRow(name, workspace, tenant_id, workspace_id)
        return await create_key(connection, made, key_name, profile, **(limits or {}))


async def list_tenants(connection: Connection) -> list[dict[str, Any]]:
    """Return all tenants, with the number of their workspaces and keys."""
    return [dict(row) for row in await connection.fetch(statement("list_tenants"))]


async def create_workspace(connection: Connection, tenant: str, name: str) -> WorkspaceRow:
    """
    Create a workspace.

    Raises
    ------
    InvalidError, NotFoundError, TakenError
        The name is not valid; the tenant does not exist; the workspace exists already.
    """
    checked_name("workspace", name)
    tenant_id = await find_tenant(connection, tenant)
    try:
        workspace_id = await connection.fetchval(statement("insert_workspace"), tenant_id, name)
    except asyncpg.UniqueViolationError:
        raise TakenError(
            f"the workspace {name!a} of tenant {tenant!a} exists already; nothing was created"
        ) from None
    return WorkspaceRow(tenant, name, tenant_id, workspace_id)


async def list_workspaces(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """Return the workspaces of all tenants, or of one tenant."""
    return [dict(row) for row in await connection.fetch(statement("list_workspaces"), tenant)]


async def find_workspace(connection: Connection, tenant: str, workspace: str) -> WorkspaceRow:
    """
    Find a workspace by its name and the name of its tenant.

    Raises
    ------
    NotFoundError
        The tenant or the workspace does not exist.
    """
    tenant_id = await find_tenant(connection, tenant)
    workspace_id = await connection.fetchval(statement("find_workspace"), tenant_id, workspace)
    if workspace_id is None:
        raise NotFoundError(f"tenant {tenant!a} has no workspace {workspace!a}")
    return WorkspaceRow(tenant, workspace, tenant_id, workspace_id)


async def find_tenant(connection: Connection, name: str) -> Any:
    """
    Return the id of a tenant.

    Raises
    ------
    NotFoundError
        The tenant does not exist.
    """
    tenant_id = await connection.fetchval(statement("find_tenant"), name)
    if tenant_id is None:
        raise NotFoundError(f"there is no tenant {name!a}")
    return tenant_id


async def seed(connection: Connection) -> NewKey | None:
    """Create the demo tenant with a key; return None if the tenant exists already."""
    try:
        return await create_tenant(
            connection,
            DEMO_TENANT,
            workspace=_DEMO_WORKSPACE,
            key_name=_DEMO_KEY_NAME,
            # Accepts the default batch size of SDKs.
            profile=Profile.SEGMENT,
        )
    except TakenError:
        return None


async def working_key(connection: Connection, remembered: str) -> str:
    """Return *remembered* if it is a valid demo key, otherwise the text of a new one."""
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
