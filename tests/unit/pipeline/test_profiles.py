"""
Refusals of requests that are too large name the profile of a key that would allow them.

If these tests fail: a sender whose batches are refused does not learn what would help, or is told
of a profile that refuses them too.
"""

from typing import Any

import msgspec
import pytest

from tests.unit.edge.client import Answer, EdgeBench

PAGE = {"type": "page"}
MIB = 1024 * 1024


async def send(bench: EdgeBench, events: int = 1, size_bytes: int = 0) -> Answer:
    """Send a batch whose body has *size_bytes*, or a few more."""
    body = msgspec.json.encode({"batch": [PAGE] * events, "x": "x" * size_bytes})
    return await bench.post("/v1/batch", body, (b"content-length", b"%d" % len(body)))


def named(answer: Answer) -> Any:
    """Return the profile in the member and the message of a refusal; None: in neither."""
    name = answer.content.get("profile")
    assert (name is not None) == ("with the profile" in answer.content["message"])
    if name is not None:
        assert f"A key with the profile {name} may send" in answer.content["message"]
    return name


@pytest.mark.parametrize(
    ("events", "size_bytes", "profile"),
    [
        (4, 0, "segment"),
        (2_500, 7_000, "segment"),
        (2_501, 7_000, None),
        (1, 520_000, "segment"),
        (1, 600_000, "rudderstack"),
        (1, 4 * MIB, None),
    ],
)
async def test_the_smallest_profile_that_would_allow_the_request_is_named(
    events: int, size_bytes: int, profile: str | None
) -> None:
    refused = await send(EdgeBench(bytes_max=50_000), events, size_bytes)

    assert refused.status in {400, 413}
    assert profile == named(refused)


async def test_a_key_with_smaller_limits_than_the_default_learns_of_the_default() -> None:
    bench = EdgeBench(events_max=2, bytes_max=100_000)

    assert "default" == named(await send(bench, 3))
    assert "segment" == named(await send(bench, 4))


async def test_the_profile_must_allow_both_the_size_and_the_number() -> None:
    bench = EdgeBench(events_max=3, bytes_max=2 * MIB)

    assert "rudderstack" == named(await send(bench, 4, 600_000))


async def test_a_context_that_makes_the_rows_too_large_is_counted() -> None:
    """The rows may have four times the limit of the body."""
    bench = EdgeBench(events_max=3_000, bytes_max=100_000)

    async def profile(events: int) -> Any:
        context = {"x": "x" * 30_000}
        return named(await bench.post("/v1/batch", {"batch": [PAGE] * events, "context": context}))

    assert "segment" == await profile(40)
    assert "rudderstack" == await profile(400)
    assert None is await profile(2_000)


async def test_if_the_size_is_not_known_the_largest_profile_is_described() -> None:
    bench = EdgeBench()
    body: list[Any] = [
        {"type": "http.request", "body": b" " * 1_500, "more_body": True},
        {"type": "http.request", "body": b" " * 1_500, "more_body": False},
    ]
    authorization = [(b"authorization", b"Bearer " + bench.minted.text.encode())]

    refused = await bench.ask("POST", "/v1/batch", headers=authorization, messages=body)

    assert (413, "more than 2000") == (refused.status, refused.content["actual"])
    assert "profile" not in refused.content
    assert "A key with the profile rudderstack may send 2500 events" in refused.content["message"]


@pytest.mark.parametrize(("size_bytes", "profile"), [(600_000, "rudderstack"), (5 * MIB, None)])
async def test_without_a_key_in_a_header_a_large_body_is_refused_and_the_message_says_so(
    size_bytes: int, profile: str | None
) -> None:
    bench = EdgeBench(bytes_max=4 * MIB)
    length = (b"content-length", b"%d" % size_bytes)

    refused = await bench.ask("POST", "/v1/batch", b"{", [length])

    answer = refused.content
    assert (413, 524_288, size_bytes) == (refused.status, answer["limit"], answer["actual"])
    assert "This is the limit of a request with its key in the body." in answer["message"]
    assert profile == answer.get("profile")
    assert ("with the profile rudderstack in a header" in answer["message"]) == bool(profile)


async def test_a_refusal_for_another_reason_names_no_profile() -> None:
    bench = EdgeBench()

    assert "profile" not in (await bench.post("/v1/batch", b"{")).content
    assert "profile" not in (await bench.post("/v1/batch", {"batch": []})).content
