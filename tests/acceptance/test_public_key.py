"""
What the key of a web page, which anybody can read, allows and what it does not allow.

If these tests fail: the documentation of keys in pages is wrong, and an owner of a page cannot know
what a visitor can do with its key.
"""

import secrets
from typing import Any, Final, NamedTuple

import pytest

from provision.keys import NewKey, Profile, create_key
from provision.tenants import create_tenant, create_workspace
from tests.acceptance.site import Site, new_ids, track

# Of an event of the shop, and in no answer to a page.
SECRET: Final = "a-price-that-no-visitor-may-see"
GET_PATHS: Final = (
    *("/", "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"),
    *("/v1/track", "/v1/batch", "/v1/events", "/v1/keys", "/v1/tenants"),
)
METHODS: Final = ("GET", "PUT", "PATCH", "DELETE")


class Shop(NamedTuple):
    """A tenant with two workspaces: the key of `shop` is secret, that of `page` is public."""

    site: Site
    shop: NewKey
    page: NewKey

    async def send(self, key: NewKey, event: dict[str, Any]) -> dict[str, Any]:
        async with self.site.client(key) as client:
            answer = await client.post("/v1/batch", json={"batch": [event]})
        assert 200 == answer.status_code, answer.text
        assert SECRET not in answer.text
        (result,) = answer.json()["results"]
        assert isinstance(result, dict)
        return result

    async def places(self) -> dict[str, int]:
        """Return the workspace of each stored event."""
        return {row["event_id"]: row["workspace_id"] for row in await self.site.rows(self.shop)}


@pytest.fixture
async def shop(shared: Site) -> Shop:
    tenant = f"shop-{secrets.token_hex(6)}"
    async with shared.database() as connection:
        shop = await create_tenant(connection, tenant, workspace="shop")
        place = await create_workspace(connection, tenant, "page")
        page = await create_key(connection, place, "page", Profile.DEFAULT)
    return Shop(shared, shop, page)


async def test_the_key_of_a_page_stores_events_in_its_workspace_only(shop: Shop) -> None:
    (event_id,) = new_ids(1)
    said = {
        "workspace_id": shop.shop.workspace_id,
        "workspaceId": str(shop.shop.workspace_id),
        "tenant_id": shop.shop.tenant_id,
        "context": {"workspace_id": shop.shop.workspace_id},
    }

    result = await shop.send(shop.page, track(event_id, **said))

    assert "accepted" == result["status"]
    assert {event_id: shop.page.workspace_id} == await shop.places()


async def test_the_key_of_a_page_claims_an_event_id_before_another_workspace(shop: Shop) -> None:
    assert "accepted" == (await shop.send(shop.page, track("order-1001")))["status"]

    result = await shop.send(shop.shop, track("order-1001", properties={"price": SECRET}))

    assert ("conflict", "id_used_in_other_workspace") == (result["status"], result["code"])
    assert {"order-1001": shop.page.workspace_id} == await shop.places()
    # Nothing is lost silently: the operator finds the event of the shop.
    (kept,) = await shop.site.rejected(shop.shop)
    assert (shop.shop.workspace_id, "order-1001") == (kept["workspace_id"], kept["event_id"])
    assert SECRET.encode() in kept["payload"]


async def test_the_key_of_a_page_learns_that_an_id_is_taken_and_nothing_else_of_the_event(
    shop: Shop,
) -> None:
    await shop.send(shop.shop, track("order-1001", properties={"price": SECRET}))
    await shop.send(shop.page, track("visit-1", properties={"price": SECRET}))

    of_shop = await shop.send(shop.page, track("order-1001", properties={"price": "a guess"}))
    of_page = await shop.send(shop.page, track("visit-1", properties={"price": "a guess"}))
    guessed = await shop.send(shop.page, track("visit-1", properties={"price": SECRET}))
    of_none = await shop.send(shop.page, track("order-1002"))

    assert ("conflict", "id_used_in_other_workspace") == (of_shop["status"], of_shop["code"])
    assert ("conflict", "content_differs") == (of_page["status"], of_page["code"])
    assert ("duplicate", "accepted") == (guessed["status"], of_none["status"])
    for result in (of_shop, of_page):
        assert {"event_id", "status", "code", "field", "message"} == set(result)


async def test_the_key_of_a_page_does_not_confirm_the_content_of_another_workspace(
    shop: Shop,
) -> None:
    event = track("order-1001", properties={"price": SECRET})
    await shop.send(shop.shop, event)

    guessed = await shop.send(shop.page, event)
    wrong = await shop.send(shop.page, track("order-1001", properties={"price": "a guess"}))

    assert guessed == wrong


async def test_a_public_key_with_a_tenant_of_its_own_neither_claims_nor_learns_ids(
    shop: Shop,
) -> None:
    visitor = await shop.site.make_key()

    assert "accepted" == (await shop.send(visitor, track("order-1001")))["status"]
    first = await shop.send(shop.shop, track("order-1001", properties={"price": SECRET}))
    taken = await shop.send(visitor, track("order-1002"))
    second = await shop.send(shop.shop, track("order-1002", properties={"price": SECRET}))

    assert ["accepted"] * 3 == [first["status"], taken["status"], second["status"]]


async def test_no_path_and_no_method_reads_or_changes_events_with_a_key(shop: Shop) -> None:
    await shop.send(shop.shop, track("order-1001", properties={"price": SECRET}))
    async with shop.site.client(shop.shop) as client:
        answers = [await client.get(path) for path in GET_PATHS]
        for method in METHODS:
            answers.append(await client.request(method, "/v1/track", json=track("order-1001")))
            answers.append(await client.request(method, "/v1/batch", json=[track("order-1001")]))

    for answer in answers:
        assert "order-1001" not in answer.text
        assert SECRET not in answer.text
    assert {405} == {answer.status_code for answer in answers[-2 * len(METHODS) :]}
    (row,) = await shop.site.rows(shop.shop)
    assert {"price": SECRET} == row["properties"]
