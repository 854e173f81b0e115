"""An unreliable store whose answers are true; a seed decides everything else."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

from service.model import AcceptedVerdicts, Payload, Verdict, Write, WriteResult
from service.reasons import Reason, RefusedError
from tests.simulation.loop import SeededLoop

# How long after its deadline a write may still answer: the real store closes its connection.
BOUND_S: Final = 1.0
TICK_S: Final = 1 / 64  # a power of two, so that sums of times are exact


class Panic(BaseException):
    """Like a panic of the core: not an instance of Exception."""


class Observer(Protocol):
    """Is called for each step of a write."""

    def write_began(self, payloads: list[Payload], deadline: float, under_way: int) -> None: ...

    def committed(self, payloads: list[Payload]) -> None: ...

    def write_cancelled(self, *, is_planned: bool) -> None: ...

    def write_ended(self, payloads: list[Payload], reason: Reason | None) -> None:
        """*reason* is the expected refusal of its requests, None if the write has verdicts."""


class FickleStore:
    """
    Commits, aborts, does not answer, answers late, raises or is cancelled.

    `RefusedError` is always true: `store_unavailable` is never raised after a commit.
    """

    def __init__(self, rng: Random, loop: SeededLoop, observer: Observer) -> None:
        self.under_way = 0
        self._cancelled: set[asyncio.Task[object]] = set()
        self._rng = rng
        self._loop = loop
        self._observer = observer
        fates: list[Write] = [
            self._commit_in_time,
            self._abort,
            self._go_silent,
            self._answer_late,
            self._raise_unexpected,
            self._cancel_itself,
            self._answer_too_few,
        ]
        # Only some fates per seed, because with all of them few payloads are stored.
        self._fates = [self._commit_in_time, *rng.sample(fates, rng.randrange(len(fates)) + 1)]

    async def write(self, payloads: list[Payload], deadline: float) -> Sequence[WriteResult]:
        """Write *payloads* with a random fate, by *deadline* plus `BOUND_S`."""
        self.under_way += 1
        self._observer.write_began(payloads, deadline, self.under_way)
        reason: Reason | None = Reason.OUTCOME_UNKNOWN
        try:
            if deadline <= self._loop.time():
                raise RefusedError(Reason.STORE_UNAVAILABLE)
            verdicts = await self._rng.choice(self._fates)(payloads, deadline)
            if verdicts:
                reason = None
        except RefusedError as refusal:
            reason = refusal.reason
            raise
        except asyncio.CancelledError:
            self._observer.write_cancelled(is_planned=asyncio.current_task() in self._cancelled)
            self._perhaps_commit(payloads)
            raise
        else:
            return verdicts
        finally:
            self.under_way -= 1
            self._observer.write_ended(payloads, reason)

    async def _commit_in_time(
        self, payloads: list[Payload], deadline: float
    ) -> list[list[Verdict]]:
        await self._work(deadline)
        return self._commit(payloads)

    async def _abort(self, _: list[Payload], deadline: float) -> list[list[Verdict]]:
        await self._work(deadline)
        raise RefusedError(Reason.STORE_UNAVAILABLE)

    async def _go_silent(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        await self._overrun(deadline)
        self._perhaps_commit(payloads)
        raise RefusedError(Reason.OUTCOME_UNKNOWN)

    async def _answer_late(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        await self._work(deadline)
        verdicts = self._commit(payloads)
        await self._overrun(deadline)
        return verdicts

    async def _raise_unexpected(
        self, payloads: list[Payload], deadline: float
    ) -> list[list[Verdict]]:
        await self._work(deadline)
        self._perhaps_commit(payloads)
        raise self._rng.choice((RuntimeError, Panic, SystemExit, TimeoutError))("as planned")

    async def _cancel_itself(self, payloads: list[Payload], deadline: float) -> list[list[Verdict]]:
        await self._work(deadline)
        task = asyncio.current_task()
        assert task is not None
        self._cancelled.add(task)
        task.cancel()
        await self._overrun(deadline)
        return self._commit(payloads)

    async def _answer_too_few(
        self, payloads: list[Payload], deadline: float
    ) -> list[list[Verdict]]:
        await self._work(deadline)
        self._commit(payloads)
        return []

    async def _work(self, deadline: float) -> None:
        work_s = min(int(self._rng.random() * 64) * TICK_S, deadline - self._loop.time())
        if work_s or self._rng.random() < 0.5:  # else it would never yield to the loop
            await asyncio.sleep(work_s)

    async def _overrun(self, deadline: float) -> None:
        over_s = int(self._rng.random() * 64) * TICK_S * BOUND_S
        await asyncio.sleep(deadline + over_s - self._loop.time())

    def _perhaps_commit(self, payloads: list[Payload]) -> None:
        if self._rng.random() < 0.5:
            self._commit(payloads)

    def _commit(self, payloads: list[Payload]) -> list[list[Verdict]]:
        self._observer.committed(payloads)
        return [verdicts_of(payload) for payload in payloads]


def verdicts_of(payload: Payload) -> list[Verdict]:
    """Return the verdicts of the store for a stored *payload*."""
    return list(AcceptedVerdicts(payload.events))
