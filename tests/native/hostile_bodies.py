"""Bodies that cost the core much time or memory for their size."""

import json
from pathlib import Path
from typing import Any, Final

# Also read by native/fuzz/tests/memory.rs. A body is its start, as many items as fit, and its end.
# A # in an item is the number of the item. The item is inside of `levels` brackets.
SHAPES: Final[dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent.parent / "corpus/hostile_bodies.json").read_text(encoding="utf-8")
)
ORDINARY: Final = "ordinary events"
# The limits of the largest profile of a key.
EVENTS_MAX: Final = 2_500
BODY_BYTES_MAX: Final = 4 * 1_024 * 1_024
# The default of FOREBAY_PAYLOAD_EXPANSION_MAX.
_EXPANSION_MAX: Final = 4
_CONTEXT: Final = '{"a":"' + "x" * 32_000 + '"}'


def body(shape: str, size: int) -> bytes:
    """Return a body of nearly *size* bytes."""
    parts = SHAPES[shape]
    start, end, between = (str(parts.get(name, ",")) for name in ("start", "end", "between"))
    levels = int(parts.get("levels", 0))
    opening, closing = (str(parts.get(name, "")) * levels for name in ("opening", "closing"))
    item = opening + str(parts["item"]) + closing
    width = len((item.replace("#", "000000") + between).encode())
    count = max(1, (size - len(start) - len(end)) // width)
    items = between.join(item.replace("#", f"{number:06}") for number in range(count))
    return (start + items + end).encode()


def copied_context(size: int) -> bytes:
    """Return a body whose context is stored as often as the limit allows; the rest is padding."""
    count = (_EXPANSION_MAX - 1) * size // len(_CONTEXT)
    events = ",".join(['{"type":"page"}'] * min(EVENTS_MAX, count))
    start = f'{{"context":{_CONTEXT},"batch":[{events}],"padding":"'
    return f'{start}{"x" * (size - len(start) - 2)}"}}'.encode()
