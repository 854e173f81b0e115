"""The API on FastAPI."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

import asyncpg
from fastapi import Depends, FastAPI, Header, HTTPException, Request

from bench.peers.naive.keys import Keys, Owner
from bench.peers.naive.models import Batch, BatchAnswer, Event, EventAnswer, EventType, Result
from bench.peers.naive.store import insert, read_json


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold a pool while the worker lives; its size is asyncpg's own choice."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], init=read_json) as pool:
        app.state.pool, app.state.keys = pool, Keys(pool)
        yield


app = FastAPI(lifespan=lifespan)


async def owner_of(request: Request) -> Owner:
    """Check the key."""
    keys: Keys = request.app.state.keys
    return await keys.owner(request)


KeyOwner = Annotated[Owner, Depends(owner_of)]
SchemaVersion = Annotated[str, Header(alias="X-Event-Schema-Version")]


@app.post("/v1/batch")
async def batch(
    request: Request, body: Batch, owner: KeyOwner, schema_version: SchemaVersion = "1.0"
) -> BatchAnswer:
    """Store up to 50 events."""
    for event in body.batch:
        require_fields(event)
    request_id = str(uuid4())
    new = await insert(request.app.state.pool, body.batch, owner, request_id, schema_version)
    return BatchAnswer(
        request_id=request_id,
        accepted=sum(new),
        duplicates=len(new) - sum(new),
        results=[result(event, is_new) for event, is_new in zip(body.batch, new, strict=True)],
    )


@app.post("/v1/{event_type}")
async def one(
    request: Request,
    event_type: EventType,
    event: Event,
    owner: KeyOwner,
    schema_version: SchemaVersion = "1.0",
) -> EventAnswer:
    """Store one event."""
    event.type = event_type
    require_fields(event)
    request_id = str(uuid4())
    (is_new,) = await insert(request.app.state.pool, [event], owner, request_id, schema_version)
    return EventAnswer(request_id=request_id, **result(event, is_new).model_dump())


@app.get("/health/ready")
async def ready(request: Request) -> dict[str, bool]:
    """Tell whether the database answers."""
    return {"ready": await request.app.state.pool.fetchval("SELECT true")}


def require_fields(event: Event) -> None:
    """Check what each type needs."""
    needed = {
        "track": event.event,
        "identify": event.user_id or event.anonymous_id,
        "group": event.group_id,
        "alias": event.previous_id and event.user_id,
    }
    if event.type is None or not needed.get(event.type, True):
        raise HTTPException(422, f"{event.type} lacks a field that it needs")


def result(event: Event, is_new: bool) -> Result:
    """Say how one event ended."""
    return Result(event_id=event.event_id, status="accepted" if is_new else "duplicate")
