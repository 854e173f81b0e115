"""One look at all client connections of a worker, and what is remembered until the next one."""

from collections import defaultdict

import msgspec

from service.edge.sockets import Client

KnownConnection = tuple[int, Client]
"""Identifies a connection in several sweeps."""


class OpenRequest(msgspec.Struct):
    """A request that is not in progress: its headers are incomplete."""

    since: float
    sent_bytes: int
    """Bytes of earlier answers. If their number has changed, this is another request."""


class OpenAnswer(msgspec.Struct):
    """Bytes of answers that a client has not received yet."""

    since: float
    end_bytes: int
    """Bytes that the client has received when it has all of them."""
    taken_bytes: int
    progress: float
    """When `taken_bytes` was first seen."""


class Sweep(msgspec.Struct):
    """One look at all connections."""

    is_by_address: bool
    requests: dict[KnownConnection, OpenRequest]
    """Of the sweep before."""
    answers: dict[KnownConnection, OpenAnswer]
    """Of the sweep before."""
    resting: dict[KnownConnection, float]
    """Without a request in progress since then, as the sweeps of a stop have seen."""
    count: int = 0
    ended: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    idle: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """Silence in ms, and descriptor."""
    by_address: defaultdict[str, list[tuple[bool, int, int]]] = msgspec.field(
        default_factory=lambda: defaultdict(list)
    )
    """Whether a request is in progress, minus silence in ms, and descriptor."""
