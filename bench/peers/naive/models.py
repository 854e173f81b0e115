"""What comes in and what goes out, as pydantic models."""

from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

EventType = Literal["track", "identify", "page", "screen", "group", "alias"]


class Event(BaseModel):
    """One event in either spelling; what it does not know goes to `extra`."""

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
    user_id: str | None = Field(None, validation_alias=AliasChoices("user_id", "userId"))
    anonymous_id: str | None = Field(
        None, validation_alias=AliasChoices("anonymous_id", "anonymousId")
    )
    group_id: str | None = Field(None, validation_alias=AliasChoices("group_id", "groupId"))
    previous_id: str | None = Field(
        None, validation_alias=AliasChoices("previous_id", "previousId")
    )
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    timestamp: datetime | None = Field(
        None, validation_alias=AliasChoices("originalTimestamp", "original_timestamp", "timestamp")
    )
    sent_at: datetime | None = Field(None, validation_alias=AliasChoices("sent_at", "sentAt"))


class Batch(BaseModel):
    """Up to 50 events; one bad event refuses all of them."""

    batch: list[Event] = Field(min_length=1, max_length=50)


class Result(BaseModel):
    """How one event ended."""

    event_id: str
    status: Literal["accepted", "duplicate"]


class EventAnswer(Result):
    """The answer to one event."""

    success: bool = True
    request_id: str


class BatchAnswer(BaseModel):
    """The answer to a batch: one result per event, in order."""

    success: bool = True
    request_id: str
    accepted: int
    duplicates: int
    results: list[Result]
