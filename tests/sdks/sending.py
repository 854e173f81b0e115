"""Runs a driver through a scenario, and counts what is stored."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from provision.keys import NewKey
from tests.acceptance.running import until
from tests.acceptance.site import Row, Site
from tests.sdks.calls import Call, numbers
from tests.sdks.clients import SdkClient, Side
from tests.sdks.driver import Driver, driver, finished

# Clients wait up to 60 s between two attempts.
PATIENCE_S: Final = 100
_EXIT_TIMEOUT_S: Final = 150

Outage = Callable[[], AbstractAsyncContextManager[None]]
IsOver = Callable[[Driver], Awaitable[bool]]


class Sent(NamedTuple):
    """What a driver has sent, what is stored, and what the user of the client saw."""

    calls: list[Call]
    rows: list[Row]
    begun: datetime
    ended: datetime
    exit_code: int
    told: str
    """The first error that the client reported."""

    @property
    def stored(self) -> int:
        """How many of the calls are stored."""
        return len({row["event_id"] for row in self.rows})

    @property
    def doubled(self) -> list[int]:
        """The numbers of the calls that are stored more than once."""
        return [number for number, count in numbers(self.rows).items() if count > 1]


class Sender(NamedTuple):
    """A client with a key, and the site that it sends to. `folder` is for files of the driver."""

    sdk: SdkClient
    site: Site
    key: NewKey
    folder: Path

    async def send(
        self,
        calls: list[Call],
        *,
        url: str = "",
        outage: Outage = nullcontext,
        is_over: IsOver | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Sent:
        """
        Make *calls* with the client, and return when it has sent them or has given up.

        The calls are made during *outage*. A driver of the server side ends when the client has
        told the fate of each call. A browser tells nothing: it is closed when *is_over*, which by
        default means that every call is stored, or after *patience_s*.
        """
        begun = datetime.now(UTC)
        address = url or self.site.service.url
        async with driver(self.sdk, address, self.key.api_key, calls, self.folder) as running:
            async with outage():
                running.write("go")
                if self.sdk.side is Side.BROWSER:
                    await running.see(lambda: running.has_said("called"), 30, "the calls are made")
            if self.sdk.side is Side.BROWSER:
                await _until_over(running, is_over or self._stored(len(calls)), patience_s)
            exit_code = await finished(running, self.sdk, _EXIT_TIMEOUT_S)
            told = running.told
        rows = await self.site.rows(self.key)
        return Sent(calls, rows, begun, datetime.now(UTC), exit_code, told)

    def _stored(self, count: int) -> IsOver:
        async def are_stored(_: Driver) -> bool:
            return len(await self.site.rows(self.key)) >= count

        return are_stored


async def _until_over(running: Driver, is_over: IsOver, patience_s: float) -> None:
    """Wait; what is missing after *patience_s* is lost, which the caller counts."""

    async def has_ended() -> bool:
        return await is_over(running)

    try:
        await until(has_ended, patience_s, "the browser has sent every event")
    except AssertionError:
        return
    # A second copy of an event would come now.
    await asyncio.sleep(0.5)
