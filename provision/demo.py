"""The tenant to try Forebay with."""

from typing import Final

from provision.database import Connection
from provision.errors import NotFoundError, TakenError
from provision.keys import NewKey, Profile, create_key, is_usable
from provision.tenants import create_tenant, create_workspace, find_workspace

TENANT: Final = "demo"
_WORKSPACE: Final = "default"
_KEY_NAME: Final = "demo"


async def seed(connection: Connection) -> NewKey | None:
    """Make the demo tenant with its key; None when it is already there."""
    try:
        return await create_tenant(
            connection,
            TENANT,
            workspace=_WORKSPACE,
            key_name=_KEY_NAME,
            # Whoever tries it with an SDK shall not have to set a batch size first.
            profile=Profile.SEGMENT,
        )
    except TakenError:
        return None


async def working_key(connection: Connection, remembered: str) -> str:
    """Return the text of a demo key that works: the remembered one, else a new one."""
    if await is_usable(connection, remembered, TENANT):
        return remembered
    made = await seed(connection) or await _another_key(connection)
    return made.api_key


async def _another_key(connection: Connection) -> NewKey:
    try:
        place = await find_workspace(connection, TENANT, _WORKSPACE)
    except NotFoundError:
        place = await create_workspace(connection, TENANT, _WORKSPACE)
    return await create_key(connection, place, _KEY_NAME, Profile.SEGMENT)
