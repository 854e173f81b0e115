"""
The limit of requests in progress.

If these tests fail: a worker takes more requests than its memory holds, or refuses too many.
"""

import pytest

from service.edge.in_progress import RequestsInProgress
from service.reasons import Reason, RefusedError


def test_a_request_above_the_limit_is_refused_and_no_longer_in_progress() -> None:
    refused: list[None] = []
    requests = RequestsInProgress(2, lambda: refused.append(None))
    for port in "123":
        requests.clients.add(("127.0.0.1", port))

    with pytest.raises(RefusedError) as caught:
        requests.make_room(("127.0.0.1", "3"), lambda: False)

    assert Reason.OVERLOADED == caught.value.reason
    assert {"limit": 2, "actual": 3} == caught.value.details
    assert [None] == refused
    assert {("127.0.0.1", "1"), ("127.0.0.1", "2")} == requests.clients


def test_a_request_above_the_limit_has_the_room_of_one_that_sends_slowly() -> None:
    requests = RequestsInProgress(0, lambda: pytest.fail("refused"))
    requests.clients.add(("127.0.0.1", "1"))
    requests.make_room(("127.0.0.1", "1"), lambda: True)
    assert {("127.0.0.1", "1")} == requests.clients
