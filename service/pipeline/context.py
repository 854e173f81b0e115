"""The context of an event: its own, and what its batch says for all."""

import msgspec


def merge_context(outer: bytes | None, inner: bytes | None) -> bytes | None:
    """Return the members of both JSON objects; where both have one, *inner*'s."""
    if outer is None or inner is None:
        return inner or outer
    merged = msgspec.json.decode(outer, type=dict[str, msgspec.Raw])
    merged |= msgspec.json.decode(inner, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(merged)
