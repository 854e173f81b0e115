"""The API on FastAPI, with one INSERT … ON CONFLICT DO NOTHING for each event."""

import base64
import binascii
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import uuid4

import asyncpg
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic_core import to_json

EventType = Literal["track", "identify", "page", "screen", "group", "alias"]

_FIND_KEY: Final = (
    "SELECT tenant_id, workspace_id FROM api_keys WHERE key_id = $1 AND secret_sha256 = $2"
)
_COLUMNS: Final = (
    *("event_id", "type", "event", "name", "category"),
    *("user_id", "anonymous_id", "group_id", "previous_id"),
    *("properties", "traits", "context", "extra"),
    *("original_timestamp", "sent_at", "schema_version", "request_id"),
    *("tenant_id", "workspace_id"),
)
_INSERT: Final = (
    f"INSERT INTO naive.events ({', '.join(_COLUMNS)})"  # noqa: S608 - only the names above
    f" VALUES ({', '.join(f'${number}' for number in range(1, len(_COLUMNS) + 1))})"
    " ON CONFLICT (tenant_id, event_id) DO NOTHING RETURNING event_id"
)


def _named(name: str, camel_case: str) -> Any:
    return Field(None, validation_alias=AliasChoices(name, camel_case))


class NaiveEvent(BaseModel):
    """One event; each field has both spellings, and unknown members go to `extra`."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    event_id: str = Field(
        default_factory=lambda: str(uuid4()),
        min_length=1,
        max_length=200,
        validation_alias=AliasChoices("event_id", "messageId"),
    )
    type: EventType | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    user_id: str | None = _named("user_id", "userId")
    anonymous_id: str | None = _named("anonymous_id", "anonymousId")
    group_id: str | None = _named("group_id", "groupId")
    previous_id: str | None = _named("previous_id", "previousId")
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    timestamp: datetime | None = Field(
        None, validation_alias=AliasChoices("originalTimestamp", "original_timestamp", "timestamp")
    )
    sent_at: datetime | None = _named("sent_at", "sentAt")


class NaiveBatch(BaseModel):
    """Up to 50 events; one bad event refuses the batch."""

    batch: list[NaiveEvent] = Field(min_length=1, max_length=50)


class EventResult(BaseModel):
    """The outcome of one event."""

    event_id: str
    status: Literal["accepted", "duplicate"]


class EventAnswer(EventResult):
    """The answer to one event."""

    success: bool = True
    request_id: str


class BatchAnswer(BaseModel):
    """The answer to a batch, with one result for each event, in order."""

    success: bool = True
    request_id: str
    accepted: int
    duplicates: int
    results: list[EventResult]


class KeyOwner(NamedTuple):
    """The tenant and the workspace of a key."""

    tenant_id: int
    workspace_id: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open a pool of asyncpg's default size while the worker runs."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], init=_write_json) as pool:
        app.state.pool, app.state.owners = pool, {}
        yield


app = FastAPI(lifespan=lifespan)


async def owner_of(request: Request) -> KeyOwner:
    """Return the owner of the key; each key is looked up once."""
    owners: dict[str, KeyOwner] = request.app.state.owners
    key = _key_of(request)
    if (owner := owners.get(key)) is None:
        # A key is `fb1_<id>_<secret>`.
        key_id = key.split("_")[1] if "_" in key else ""
        digest = hashlib.sha256(key.encode()).digest()
        row = await request.app.state.pool.fetchrow(_FIND_KEY, key_id, digest)
        if row is None:
            raise HTTPException(401, "unknown API key")
        owner = owners[key] = KeyOwner(*row)
    return owner


Owner = Annotated[KeyOwner, Depends(owner_of)]
SchemaVersion = Annotated[str, Header(alias="X-Event-Schema-Version")]


@app.post("/v1/batch")
async def batch(
    request: Request, body: NaiveBatch, owner: Owner, schema_version: SchemaVersion = "1.0"
) -> BatchAnswer:
    """Store up to 50 events."""
    request_id, results = await _store(request, body.batch, owner, schema_version)
    accepted = sum(result.status == "accepted" for result in results)
    return BatchAnswer(
        request_id=request_id,
        accepted=accepted,
        duplicates=len(results) - accepted,
        results=results,
    )


@app.post("/v1/{event_type}")
async def one(
    request: Request,
    event_type: EventType,
    event: NaiveEvent,
    owner: Owner,
    schema_version: SchemaVersion = "1.0",
) -> EventAnswer:
    """Store one event."""
    event.type = event_type
    request_id, (result,) = await _store(request, [event], owner, schema_version)
    return EventAnswer(request_id=request_id, **result.model_dump())


@app.get("/health/ready")
async def ready(request: Request) -> dict[str, bool]:
    """Tell whether the database answers."""
    return {"ready": await request.app.state.pool.fetchval("SELECT true")}


async def _store(
    request: Request, events: list[NaiveEvent], owner: KeyOwner, schema_version: str
) -> tuple[str, list[EventResult]]:
    """Store the events in one transaction; return the request id, and a result for each event."""
    for event in events:
        _require_fields(event)
    request_id = str(uuid4())
    rows = [_row(event, owner, request_id, schema_version) for event in events]
    async with request.app.state.pool.acquire() as connection:
        if len(rows) == 1:
            new = [await connection.fetchval(_INSERT, *rows[0])]
        else:
            # Like `executemany`, without a round trip per INSERT; the returned rows are the
            # new events, the others are duplicates.
            async with connection.transaction():
                new = [row["event_id"] for row in await connection.fetchmany(_INSERT, rows)]
    stored = set(new)
    results = []
    for event in events:
        status: Literal["accepted", "duplicate"] = "duplicate"
        if event.event_id in stored:
            stored.remove(event.event_id)  # a second event with this id is a duplicate
            status = "accepted"
        results.append(EventResult(event_id=event.event_id, status=status))
    return request_id, results


def _require_fields(event: NaiveEvent) -> None:
    required = {
        "track": event.event,
        "identify": event.user_id or event.anonymous_id,
        "group": event.group_id,
        "alias": event.previous_id and event.user_id,
    }
    if event.type is None or not required.get(event.type, True):
        raise HTTPException(422, f"{event.type} lacks a required field")


def _row(
    event: NaiveEvent, owner: KeyOwner, request_id: str, schema_version: str
) -> tuple[object, ...]:
    return (
        *(event.event_id, event.type, event.event, event.name, event.category),
        *(event.user_id, event.anonymous_id, event.group_id, event.previous_id),
        *(event.properties, event.traits, event.context, event.model_extra or None),
        *(event.timestamp, event.sent_at, schema_version, request_id),
        *owner,
    )


def _key_of(request: Request) -> str:
    headers = request.headers
    if key := headers.get("x-api-key") or headers.get("x-write-key"):
        return str(key)
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return str(value)
    try:
        return base64.b64decode(value).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def _write_json(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: to_json(value).decode(), decoder=str
    )
