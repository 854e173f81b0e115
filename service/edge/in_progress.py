"""The requests in progress in a worker."""

from collections.abc import Callable

from service.edge.sockets import Client
from service.reasons import Reason, RefusedError


class RequestsInProgress:
    """The clients with a request in progress: each connection has one request at a time."""

    def __init__(self, requests_max: int, on_refused: Callable[[], None]) -> None:
        """*on_refused* is called for each request above the limit that has no room."""
        self.clients: set[Client] = set()
        self.requests_max = requests_max
        self._on_refused = on_refused

    def make_room(self, client: Client, end_slowest: Callable[[], bool]) -> None:
        """
        Make room for a request that is one too many, or refuse it.

        *end_slowest* ends the request that has waited longest for its body, and returns whether
        there was one: clients that send slowly do not keep others out.

        Raises
        ------
        RefusedError
            There are more requests in progress than `FOREBAY_REQUESTS_MAX`, and none is slow.
        """
        if end_slowest():
            return
        count = len(self.clients)
        # Not counted any longer: the rest of its body is read for up to a second.
        self.clients.discard(client)
        self._on_refused()
        raise RefusedError(
            Reason.OVERLOADED,
            "Too many requests are in progress; try again.",
            limit=self.requests_max,
            actual=count,
        )
