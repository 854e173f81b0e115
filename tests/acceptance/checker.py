"""Compares the file of a client with the database: events lost, doubled, changed, never sent."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Account(NamedTuple):
    """The content of a client's file."""

    sent: dict[str, set[str]]
    """Hashes of the contents that were sent, by event id."""
    told: list[tuple[str, str, str]]
    """Event id, hash of the content, and status in the answer."""


class Stored(NamedTuple):
    """The rows of one tenant in the database."""

    events: list[tuple[str, int, str]]
    """Event id, row id, and hash of the content."""
    ledger: list[int]
    """Row ids in the table `event_deduplication`."""


def content_hash(event: Mapping[str, Any]) -> str:
    """Return a hash of the members of an event that its sender wrote."""
    members = [event.get(name) for name in ("type", "event", "user_id", "properties")]
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:32]


def read_account(path: Path) -> Account:
    """Read a client's file. A last line that a crash truncated is ignored."""
    sent: defaultdict[str, set[str]] = defaultdict(set)
    told: list[tuple[str, str, str]] = []
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.rpartition("\n")[0].splitlines():
        entry = json.loads(line)
        for event_id, content in entry.get("sent", ()):
            sent[event_id].add(content)
        told += [tuple(item) for item in entry.get("told", ())]
    return Account(dict(sent), told)


async def read_stored(connection: Any, tenant_id: int) -> Stored:
    """Read the events and the ledger of a tenant in one snapshot."""
    rows = await connection.fetch(
        "SELECT id, true AS is_event, event_id, type, event, user_id, properties::text"
        " FROM events WHERE tenant_id = $1"
        " UNION ALL SELECT id, false, NULL, NULL, NULL, NULL, NULL"
        " FROM event_deduplication WHERE tenant_id = $1",
        tenant_id,
    )
    events = [
        (row["event_id"], row["id"], content_hash(_event(row))) for row in rows if row["is_event"]
    ]
    return Stored(events, [row["id"] for row in rows if not row["is_event"]])


def findings(account: Account, stored: Stored) -> list[str]:
    """Return each violation of the delivery guarantee, with the id of the event."""
    contents: defaultdict[str, list[str]] = defaultdict(list)
    for event_id, _, content in stored.events:
        contents[event_id].append(content)
    return [
        *(f"doubled: {event_id}" for event_id, found in contents.items() if len(found) > 1),
        *_strangers(account, contents),
        *_broken_answers(account, contents),
        *_torn(stored),
    ]


def _strangers(account: Account, contents: Mapping[str, list[str]]) -> list[str]:
    found = []
    for event_id, hashes in contents.items():
        if event_id not in account.sent:
            found.append(f"never sent: {event_id}")
        elif not set(hashes) <= account.sent[event_id]:
            found.append(f"changed: {event_id}")
    return found


def _broken_answers(account: Account, contents: Mapping[str, list[str]]) -> list[str]:
    found = []
    accepted = Counter(event_id for event_id, _, verdict in account.told if verdict == "accepted")
    found += [f"accepted twice: {event_id}" for event_id, times in accepted.items() if times > 1]
    for event_id, content, verdict in account.told:
        held = contents.get(event_id, [])
        if verdict == "rejected":
            found += [f"stored though rejected: {event_id}"] if held else []
        elif not held:
            found.append(f"lost: {event_id}, told {verdict}")
        elif (content in held) is (verdict == "conflict"):
            found.append(f"not what was told: {event_id}, told {verdict}")
    return found


def _torn(stored: Stored) -> list[str]:
    """Return rows that are in only one of the two tables, so not written in one transaction."""
    events, ledger = Counter(row[1] for row in stored.events), Counter(stored.ledger)
    apart = (events - ledger) + (ledger - events)
    return [f"in one table only: row {row_id}" for row_id in apart]


def _event(row: Any) -> dict[str, Any]:
    return {**row, "properties": json.loads(row["properties"])}
