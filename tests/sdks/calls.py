"""The calls that drivers make, and the rows that they must become."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tests.acceptance.site import Row
from tests.sdks.clients import SdkClient

Call = dict[str, Any]

BURST: Final = 500
LARGE: Final = 60
LARGE_BYTES: Final = 20_000
OUTAGE: Final = 60
# More levels than an event may have.
DEPTH: Final = 70
BAD: Final = 4
NESTED: Final = {"total": 49.9, "items": [{"sku": "ä-1", "tags": ["a", None]}, {"sku": "2"}]}
# `identify` is first, because browsers send the user of the last `identify`; `alias`, which may
# change it, is last.
ONE_OF_EACH: Final[list[Call]] = [
    {"method": "identify", "userId": "u1", "traits": {"plan": "pro", "seats": {"paid": 3}}},
    {"method": "page", "userId": "u1", "name": "Home", "properties": NESTED},
    {"method": "screen", "userId": "u1", "name": "Main", "properties": NESTED},
    {"method": "group", "userId": "u1", "groupId": "g1", "traits": {"seats": 3}},
    {"method": "track", "userId": "u1", "event": "Order Completed", "properties": NESTED},
    {"method": "alias", "userId": "u1", "previousId": "a1"},
]
COLUMNS: Final = {
    "userId": "user_id",
    "previousId": "previous_id",
    "groupId": "group_id",
    "event": "event",
    "name": "name",
    "properties": "properties",
    "traits": "traits",
}
_CLOCK_STEP: Final = timedelta(seconds=1)


def one_of_each(sdk: SdkClient) -> list[Call]:
    """Return one call of each type that the client has."""
    calls = [_without(sdk, call) for call in ONE_OF_EACH if call["method"] not in sdk.lacks]
    if sdk.has_page_names:
        return calls
    return [_with_name_in_properties(call) for call in calls]


def tracks(count: int, size_bytes: int = 0) -> list[Call]:
    """Return *count* calls of `track`, each with its number and a text of *size_bytes*."""
    text = {"text": "x" * size_bytes} if size_bytes else {}
    return [
        {
            "method": "track",
            "userId": "u1",
            "event": "Counted",
            "properties": {"number": number, "nested": NESTED} | text,
        }
        for number in range(count)
    ]


def with_bad_event() -> list[Call]:
    """Return ten calls of `track`; Forebay rejects the fifth, which has too many levels."""
    calls = tracks(10)
    deep: dict[str, Any] = {}
    for _ in range(DEPTH):
        deep = {"deep": deep}
    calls[BAD]["properties"] |= deep
    return calls


def numbers(rows: Iterable[Row]) -> Counter[int]:
    """Return how often the event of each call of `tracks` is stored."""
    return Counter(row["properties"]["number"] for row in rows if row["event"] == "Counted")


def check_fields(calls: list[Call], rows: list[Row], begun: datetime, ended: datetime) -> None:
    """Compare each row with its call. A client may add members to those of the call."""
    assert sorted(call["method"] for call in calls) == sorted(row["type"] for row in rows)
    by_type = {row["type"]: row for row in rows}
    for call in calls:
        row = by_type[call["method"]]
        for member, column in COLUMNS.items():
            if member in call:
                assert _contains(row[column], call[member]), (call, column, row[column])
        assert begun - _CLOCK_STEP <= row["original_timestamp"] <= ended + _CLOCK_STEP
        assert row["context"]["library"]["name"], call


def _without(sdk: SdkClient, call: Call) -> Call:
    return {name: value for name, value in call.items() if (call["method"], name) not in sdk.omits}


def _with_name_in_properties(call: Call) -> Call:
    if call["method"] != "page":
        return call
    others = {name: value for name, value in call.items() if name != "name"}
    return others | {"properties": call["properties"] | {"name": call["name"]}}


def _contains(actual: Any, given: Any) -> bool:
    if isinstance(given, Mapping) and isinstance(actual, Mapping):
        return all(name in actual and _contains(actual[name], given[name]) for name in given)
    return bool(actual == given)
