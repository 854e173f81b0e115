"""
Ends the client connections that would harm others, and counts all of them.

A connection is ended when

- its client does not receive an answer in time,
- its client does not complete the headers of a request in time,
- its address has more connections than it may have: idle ones first,
- the worker has room for few further connections: the longest idle ones first,
- the worker stops: every connection without a request in progress.

A request in progress is ended only for an address with too many connections. See
docs/decisions/0033-connections.md.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal

import msgspec
import structlog

from service.edge.addresses import AddressGroups
from service.edge.sockets import Client, ClientConnection, Sockets
from service.edge.sweep import KnownConnection, OpenAnswer, OpenRequest, Sweep
from service.setting_values import Network

log = structlog.get_logger()

EndReason = Literal["answer", "header", "address", "room", "stop"]

# Above the high water mark idle connections are ended, down to the low one.
_HIGH_WATER: Final = 0.9
_LOW_WATER: Final = 0.8
# How often the number of open descriptors is compared with the high water mark, and the shortest
# pause between two sweeps.
_TICK_S: Final = 0.25
_PAUSE_S: Final = 1.0
# The pause is this many times as long as the sweep before it: sweeps take at most 2 % of a core,
# and 10 % above the high water mark.
_PAUSES: Final = 50
_PAUSES_SHORT_OF_ROOM: Final = 10
# Connections to look at without a pause: 0.3 ms, in which the worker does nothing else.
_SLICE: Final = 100
_SLICE_PAUSE_S: Final = 0.002
# After a shorter silence a request may be on its way to the edge.
_SILENCE_MIN_S: Final = 1.0
# While the worker stops: how long a client may receive nothing of its answer.
_NO_PROGRESS_MAX_S: Final = 1.0


class ConnectionLimits(msgspec.Struct, frozen=True):
    """How many client connections a worker has, and how long its clients may take."""

    connections_max: int
    per_address_max: int
    """0: no limit."""
    trusted: tuple[Network, ...]
    """Networks without a limit of connections per address."""
    header_timeout_s: float
    answer_timeout_s: float


class Connections:
    """The client connections of a worker."""

    def __init__(
        self,
        sockets: Sockets,
        limits: ConnectionLimits,
        in_progress: Collection[Client],
        on_sweep: Callable[[int, Mapping[str, int]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        *in_progress*: clients with a request in progress, as the edge changes them.

        *on_sweep* gets the number of connections, and how many were ended for each reason.
        """
        self._sockets = sockets
        self._limits = limits
        self._in_progress = in_progress
        self._on_sweep = on_sweep
        self._monotonic = monotonic
        self._groups = AddressGroups(limits.trusted)
        self._high_water = int(limits.connections_max * _HIGH_WATER)
        self._low_water = int(limits.connections_max * _LOW_WATER)
        self._requests: dict[KnownConnection, OpenRequest] = {}
        self._answers: dict[KnownConnection, OpenAnswer] = {}
        self._count = 0
        self._others = 0
        """Open descriptors that are no client connections."""
        self._resting: dict[KnownConnection, float] = {}
        self._stop_began: float | None = None
        self._answer_deadline = math.inf

    async def run(self) -> None:
        """Sweep until cancelled."""
        if not self._sockets.are_readable():
            log.warning("connections_not_limited", reason="this system does not show the sockets")
            await asyncio.Event().wait()
        while True:
            work_s = await self.sweep()
            await self._pause(work_s)

    def stop(self, answer_timeout_s: float) -> None:
        """From now on end every connection that has no request in progress."""
        self._stop_began = self._monotonic()
        self._answer_deadline = self._stop_began + answer_timeout_s

    async def sweep(self) -> float:
        """Look at each connection, end those that are due, and return the seconds of work."""
        sweep = Sweep(
            is_by_address=0 < self._limits.per_address_max < self._count,
            requests=self._requests,
            answers=self._answers,
            resting=self._resting,
        )
        self._requests, self._answers, self._resting = {}, {}, {}
        work_s, started = 0.0, self._monotonic()
        for number, descriptor in enumerate(self._sockets.descriptors(), 1):
            seen = self._sockets.observe(descriptor)
            if seen is not None:
                self._look(seen, sweep)
            if number % _SLICE == 0:
                work_s += self._monotonic() - started
                await asyncio.sleep(_SLICE_PAUSE_S)
                started = self._monotonic()
        self._count = sweep.count
        self._others = self._sockets.open_descriptors() - sweep.count
        if sweep.is_by_address:
            self._end_surplus(sweep)
        await self._make_room(sweep)
        self._on_sweep(sweep.count, sweep.ended)
        return work_s + self._monotonic() - started

    async def _pause(self, work_s: float) -> None:
        """Wait until the next sweep is due: sooner while there is little room, or at a stop."""
        started = self._monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            is_short = self._sockets.open_descriptors() - self._others > self._high_water
            pause_s = max(_PAUSE_S, work_s * _PAUSES)
            if is_short or self._count > self._high_water:
                pause_s = work_s * _PAUSES_SHORT_OF_ROOM
            if self._stop_began is not None or self._monotonic() - started >= pause_s:
                return

    def _look(self, seen: ClientConnection, sweep: Sweep) -> None:
        """Count one connection, and end it if its own state is the reason."""
        sweep.count += 1
        now = self._monotonic()
        if seen.untaken_bytes:
            self._limit_answer(seen, sweep, now)
        elif seen.is_receiving:
            self._limit_headers(seen, sweep, now)
        else:
            sweep.idle.append((seen.silent_ms, seen.descriptor))
        if self._stop_began is not None and not seen.untaken_bytes:
            self._end_at_stop(seen, sweep, now)
        if sweep.is_by_address:
            self._group(seen, sweep)

    def _limit_answer(self, seen: ClientConnection, sweep: Sweep, now: float) -> None:
        """
        Reset a connection whose client has not received an answer within the timeout.

        Otherwise a client that reads a byte now and then could hold its connection for ever.
        """
        known = self._known(seen)
        if known is None:
            return
        answer = sweep.answers.get(known)
        if answer is None or seen.taken_bytes >= answer.end_bytes:
            end_bytes = seen.taken_bytes + seen.untaken_bytes
            answer = OpenAnswer(now, end_bytes, seen.taken_bytes, now)
        elif seen.taken_bytes != answer.taken_bytes:
            answer.taken_bytes, answer.progress = seen.taken_bytes, now
        self._answers[known] = answer
        timeout_s = self._limits.answer_timeout_s
        is_due = now - answer.since >= timeout_s
        if self._stop_began is not None:
            is_due = is_due or now - answer.progress >= _NO_PROGRESS_MAX_S
            is_due = is_due or now >= self._answer_deadline

        def has_not_received(again: ClientConnection, client: Client) -> bool:
            return client == known[1] and again.untaken_bytes > 0

        if is_due and self._sockets.end(seen.descriptor, has_not_received, is_reset=True):
            sweep.ended["answer"] += 1

    def _limit_headers(self, seen: ClientConnection, sweep: Sweep, now: float) -> None:
        """End a connection that has sent only a part of the headers, for too long."""
        known = self._known(seen)
        if known is None or known[1] in self._in_progress:
            return
        sent_bytes = seen.taken_bytes
        request = sweep.requests.get(known)
        if request is None or request.sent_bytes != sent_bytes:
            request = OpenRequest(now, sent_bytes)
        self._requests[known] = request
        if now - request.since >= self._limits.header_timeout_s:
            self._end_unanswered(known, request, sweep, "header")

    def _end_unanswered(
        self, known: KnownConnection, request: OpenRequest, sweep: Sweep, reason: EndReason
    ) -> bool:
        """End a connection with an incomplete request; return whether that was done."""

        def is_the_same(again: ClientConnection, client: Client) -> bool:
            is_in_progress = client in self._in_progress
            has_sent = again.taken_bytes + again.untaken_bytes != request.sent_bytes
            return client == known[1] and not is_in_progress and not has_sent

        is_ended = self._sockets.end(known[0], is_the_same, is_reset=False)
        if is_ended:
            sweep.ended[reason] += 1
        return is_ended

    def _end_at_stop(self, seen: ClientConnection, sweep: Sweep, now: float) -> None:
        """
        End a connection that is idle, or has been without a request in progress for the silence.

        Within the silence a request that has just arrived becomes one in progress, and an answer
        gets on its way to the client.
        """
        known = self._known(seen)
        if known is None or known[1] in self._in_progress:
            return
        self._resting[known] = since = sweep.resting.get(known, now)
        is_late = now - since >= _SILENCE_MIN_S

        def has_no_request(again: ClientConnection, client: Client) -> bool:
            is_in_progress = client in self._in_progress
            return self._is_idle(again, client) or (is_late and not is_in_progress)

        if self._sockets.end(seen.descriptor, has_no_request, is_reset=False):
            sweep.ended["stop"] += 1

    def _group(self, seen: ClientConnection, sweep: Sweep) -> None:
        known = self._known(seen)
        if known is None:
            return
        group = self._groups.of(known[1][0])
        if group is not None:
            is_in_progress = known[1] in self._in_progress
            sweep.by_address[group].append((is_in_progress, -seen.silent_ms, seen.descriptor))

    def _end_surplus(self, sweep: Sweep) -> None:
        """End what an address has above its limit, requests in progress last."""
        for group, connections in sweep.by_address.items():
            surplus = len(connections) - self._limits.per_address_max
            if surplus <= 0:
                continue

            def is_of_group(_: ClientConnection, client: Client, group: str = group) -> bool:
                return self._groups.of(client[0]) == group

            for *_, descriptor in sorted(connections)[:surplus]:
                if self._sockets.end(descriptor, is_of_group, is_reset=False):
                    sweep.ended["address"] += 1

    async def _make_room(self, sweep: Sweep) -> None:
        """End the longest idle connections, then the oldest incomplete requests."""
        if sweep.count <= self._high_water:
            return
        surplus = sweep.count - self._low_water - sum(sweep.ended.values())
        for number, (_, descriptor) in enumerate(sorted(sweep.idle, reverse=True), 1):
            if surplus <= 0:
                return
            if self._sockets.end(descriptor, self._is_idle, is_reset=False):
                sweep.ended["room"] += 1
                surplus -= 1
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        now = self._monotonic()
        for known, request in sorted(self._requests.items(), key=lambda item: item[1].since):
            if surplus <= 0 or now - request.since < _SILENCE_MIN_S:
                return
            surplus -= self._end_unanswered(known, request, sweep, "room")

    def _is_idle(self, again: ClientConnection, client: Client) -> bool:
        is_silent = again.silent_ms >= _SILENCE_MIN_S * 1000
        return is_silent and not again.is_receiving and client not in self._in_progress

    def _known(self, seen: ClientConnection) -> KnownConnection | None:
        client = self._sockets.client(seen.descriptor)
        return None if client is None else (seen.descriptor, client)
