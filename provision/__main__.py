"""
The command `provision`: migrations, tenants, workspaces, keys, partitions, rejected events.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 exists already. With `--json`, stdout
contains only JSON.
"""

from datetime import timedelta
from typing import Annotated, Any, Final

from cyclopts import App, Parameter, validators

from provision.command_line import (
    Json,
    installed_version,
    print_fields,
    print_json,
    print_message,
    print_rows,
    run,
    whole_number,
)
from provision.database import connected, required_url
from provision.errors import InvalidError
from provision.key_limits import (
    EventsPerSecond,
    KeyProfile,
    MaxBatchEvents,
    MaxPayloadBytes,
    advice,
    described,
    stored_limits,
)
from provision.keys import (
    NewKey,
    Profile,
    StoredLimits,
    create_key,
    list_keys,
    revoke_key,
    update_key,
)
from provision.lock_waits import LOCK_WAIT_S
from provision.migrate import migrate
from provision.partitions import make_partitions
from provision.rejects import Since, list_rejects, print_rejects
from provision.status import read_status, tail_events
from provision.tenants import (
    DEMO_TENANT,
    create_tenant,
    create_workspace,
    find_workspace,
    list_tenants,
    list_workspaces,
    seed,
)
from service.store.partitions import DAYS_AHEAD

_KEY_FIELDS: Final = ("tenant", "workspace", "key_id", "api_key")
_TENANT_COLUMNS: Final = ("tenant", "workspaces", "keys", "disabled_at", "created_at")
_WORKSPACE_COLUMNS: Final = ("tenant", "workspace", "keys", "created_at")
_KEY_COLUMNS: Final = (
    *("key_id", "tenant", "workspace", "name", "max_batch_events", "max_payload_bytes"),
    *("events_per_second", "last_used_at", "expires_at", "revoked_at", "created_at"),
)
_PARTITION_COLUMNS: Final = ("table_name", "utc_day", "made", "problem", "advice")
_EVENT_COLUMNS: Final = (
    *("id", "received_at", "tenant", "workspace", "type", "event"),
    *("user_id", "anonymous_id", "event_id"),
)

app = App(
    name="provision",
    help="Prepare a database for Forebay, and manage tenants, workspaces and keys.",
    version=installed_version,
)
TenantName = Annotated[str, Parameter(help="Name of the tenant.")]
WorkspaceName = Annotated[str, Parameter(help="Name of the workspace.")]
KeyName = Annotated[str, Parameter(help="Name of the key.")]
KeyId = Annotated[str, Parameter(help="Id of the key, as `provision key list` shows it.")]
LockWait = Annotated[
    float,
    Parameter(
        help="Seconds that each migration waits for table locks of other sessions.",
        validator=validators.Number(gt=0),
    ),
]
DaysAhead = Annotated[
    int,
    Parameter(
        help="Number of days after today.",
        converter=whole_number,
        validator=validators.Number(gte=0, lte=366),
    ),
]
EventsMax = Annotated[
    int,
    Parameter(
        help="Maximum number of events.",
        converter=whole_number,
        validator=validators.Number(gte=1, lte=10_000),
    ),
]

ReasonsMax = Annotated[
    int,
    Parameter(
        help="Maximum number of reasons.",
        converter=whole_number,
        validator=validators.Number(gte=1, lte=10_000),
    ),
]

tenant = App(name="tenant", help="Manage tenants: customers with workspaces and keys.")
workspace = App(name="workspace", help="Manage workspaces: named streams of events of a tenant.")
key = App(name="key", help="Manage API keys; each can send events to one workspace.")
events = App(name="events", help="Show stored events.")
rejects = App(name="rejects", help="Show why events were rejected.")
for group in (tenant, workspace, key, events, rejects):
    app.command(group)


@tenant.command(name="create")
async def create_tenant_command(  # noqa: PLR0913 - options of a command
    name: TenantName,
    *,
    workspace: WorkspaceName = "default",
    key_name: KeyName = "default",
    profile: KeyProfile = None,
    max_batch_events: MaxBatchEvents = None,
    max_payload_bytes: MaxPayloadBytes = None,
    json: Json = False,
) -> None:
    """Create a tenant with a workspace and a key; print the key."""
    limits = stored_limits(profile, max_batch_events, max_payload_bytes)
    async with connected(required_url()) as connection:
        made = await create_tenant(
            connection, name, workspace=workspace, key_name=key_name, limits=limits
        )
    _show_key(made, json=json)
    _advise(made, limits)


@tenant.command(name="list")
async def list_tenants_command(*, json: Json = False) -> None:
    """List the tenants."""
    async with connected(required_url()) as connection:
        _show_rows(await list_tenants(connection), _TENANT_COLUMNS, json=json)


@workspace.command(name="create")
async def create_workspace_command(
    tenant: TenantName, name: WorkspaceName, *, json: Json = False
) -> None:
    """Create a workspace for a tenant."""
    async with connected(required_url()) as connection:
        made = await create_workspace(connection, tenant, name)
    fields = {"tenant": made.tenant, "workspace": made.workspace}
    print_json(fields) if json else print_fields(fields)


@workspace.command(name="list")
async def list_workspaces_command(*, tenant: TenantName | None = None, json: Json = False) -> None:
    """List the workspaces of all tenants, or of one tenant."""
    async with connected(required_url()) as connection:
        _show_rows(await list_workspaces(connection, tenant), _WORKSPACE_COLUMNS, json=json)


@key.command(name="create")
async def create_key_command(  # noqa: PLR0913 - options of a command
    *,
    tenant: TenantName,
    workspace: WorkspaceName = "default",
    name: KeyName = "default",
    profile: KeyProfile = None,
    max_batch_events: MaxBatchEvents = None,
    max_payload_bytes: MaxPayloadBytes = None,
    events_per_second: EventsPerSecond = "default",
    json: Json = False,
) -> None:
    """Create a key for a workspace; print the key."""
    limits = stored_limits(profile, max_batch_events, max_payload_bytes)
    rate = stored_limits(events_per_second=events_per_second)
    async with connected(required_url()) as connection:
        found = await find_workspace(connection, tenant, workspace)
        made = await create_key(connection, found, name, Profile.DEFAULT, **limits, **rate)
    _show_key(made, json=json)
    _advise(made, limits)


@key.command(name="list")
async def list_keys_command(*, tenant: TenantName | None = None, json: Json = False) -> None:
    """List the keys of all tenants, or of one tenant; without their secrets."""
    async with connected(required_url()) as connection:
        _show_rows(await list_keys(connection, tenant), _KEY_COLUMNS, json=json)


@key.command(name="update")
async def update_key_command(
    key_id: KeyId,
    *,
    profile: KeyProfile = None,
    max_batch_events: MaxBatchEvents = None,
    max_payload_bytes: MaxPayloadBytes = None,
    events_per_second: EventsPerSecond = None,
    json: Json = False,
) -> None:
    """
    Change the limits of the key with this id; every worker applies them within a second.

    Example: `provision key update 0lYqQzcMTxAg --profile segment --events-per-second 500`
    """
    changes = stored_limits(profile, max_batch_events, max_payload_bytes, events_per_second)
    if not changes:
        raise InvalidError(
            "nothing to change: give --profile, --max-batch-events, --max-payload-bytes or"
            " --events-per-second"
        )
    async with connected(required_url()) as connection:
        limits = await update_key(connection, key_id, **changes)
    if json:
        print_json({"key_id": key_id} | limits)
    print_message(f"key {key_id}: {described(limits)}")


@key.command(name="revoke")
async def revoke_key_command(key_id: KeyId, *, json: Json = False) -> None:
    """Revoke the key with this id; every worker refuses it within a second."""
    async with connected(required_url()) as connection:
        is_news = await revoke_key(connection, key_id)
    if json:
        print_json({"key_id": key_id, "revoked": True})
    print_message(f"key {key_id} is revoked" if is_news else f"key {key_id} was already revoked")


@app.command(name="migrate")
async def migrate_command(
    *,
    lock_wait_s: LockWait = LOCK_WAIT_S,
    json: Json = False,
) -> None:
    """Apply the pending migrations; running workers continue to store events."""
    applied = await migrate(required_url(), lock_wait_s=lock_wait_s)
    if json:
        print_json({"applied": applied})
    for name in applied:
        print_message(f"applied {name}")
    if not applied:
        print_message("the schema is up to date")


@app.command(name="status")
async def status_command(*, json: Json = False) -> int:
    """Show schema, pending migrations, partitions, counts; exit code 1 for an unusable schema."""
    async with connected(required_url()) as connection:
        status = await read_status(connection)
    if json:
        print_json(status)
    else:
        shown = {
            "schema_version": status.schema_version,
            "pending": ", ".join(status.pending) or "nothing",
            "tenants": status.tenants,
            "workspaces": status.workspaces,
            "keys": status.keys,
        }
        for table in status.partitions:
            days = f"{table.partitions} days, {table.first_day} to {table.last_day}"
            shown[table.table_name] = days
        print_fields(shown)
    for warning in status.warnings:
        print_message(warning)
    if status.problem is not None:
        print_message(status.problem)
    return 0 if status.problem is None else 1


@app.command(name="partitions")
async def partitions_command(
    *,
    days_ahead: DaysAhead = DAYS_AHEAD,
    json: Json = False,
) -> int:
    """Create the partitions of the coming days; exit code 1 if one cannot be created."""
    async with connected(required_url()) as connection:
        rows = await make_partitions(connection, days_ahead)
    _show_rows(rows, _PARTITION_COLUMNS, json=json)
    return 0 if all(row["made"] for row in rows) else 1


@app.command(name="seed")
async def seed_command(*, json: Json = False) -> None:
    """Create the demo tenant with a key, if it does not exist."""
    async with connected(required_url()) as connection:
        made = await seed(connection)
    if made is not None:
        _show_key(made, json=json)
        return
    if json:
        print_json({"tenant": DEMO_TENANT, "key_id": None, "api_key": None})
    print_message(
        f"the tenant {DEMO_TENANT} exists already; its key was shown when the tenant was created"
        f" (to create another key: provision key create --tenant {DEMO_TENANT})"
    )


@events.command(name="tail")
async def tail_events_command(
    *,
    limit: EventsMax = 20,
    json: Json = False,
) -> None:
    """Show the newest events of all tenants, newest first."""
    async with connected(required_url()) as connection:
        _show_rows(await tail_events(connection, limit), _EVENT_COLUMNS, json=json)


@rejects.command(name="list")
async def list_rejects_command(
    *,
    key: Annotated[str | None, Parameter(help="Id of the key, or the key itself.")] = None,
    tenant: TenantName | None = None,
    since: Since = timedelta(hours=1),
    limit: ReasonsMax = 50,
    json: Json = False,
) -> None:
    """
    Show why events were rejected or in conflict: each reason with its newest event.

    Example: `provision rejects list --key 0lYqQzcMTxAg --since 1h`
    """
    async with connected(required_url()) as connection:
        rows = await list_rejects(connection, since, key=key, tenant=tenant, limit=limit)
    print_json(rows) if json else print_rejects(rows)
    if not rows:
        print_message("no rejected events in this time")
    if len(rows) == limit:
        print_message(f"these are the {limit} most frequent reasons; --limit shows more")
    print_message(
        "Requests that were refused as a whole (status 4xx) are not listed: the log of the service"
        " has them as request_refused."
    )


def _advise(made: NewKey, limits: StoredLimits) -> None:
    """Print what the limits of a key mean for SDKs, if no option has set them."""
    if not limits:
        for line in advice(made.key_id):
            print_message(line)


def _show_key(made: NewKey, *, json: bool) -> None:
    fields = {name: getattr(made, name) for name in _KEY_FIELDS}
    if json:
        print_json(fields)
        return
    print_fields(fields)
    print_message("The key is shown only now; the database stores a hash of it.")


def _show_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], *, json: bool) -> None:
    print_json(rows) if json else print_rows(rows, columns)


def main() -> None:
    """Run the command `provision`."""
    run(app)


if __name__ == "__main__":
    main()
