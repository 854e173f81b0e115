"""
The programs of docs/how-to/sdks, run with the SDKs against a real service.

If these tests fail: a user of an SDK copies a program that does not send.
"""

import asyncio
from pathlib import Path

from tests.acceptance.running import until
from tests.acceptance.site import Site
from tests.docs.examples import as_table
from tests.docs.test_examples import fetch
from tests.sdks.clients import SdkClient, Side
from tests.sdks.driver import driver
from tests.sdks.examples import example_of, run_example


async def test_the_program_of_its_page_stores_what_the_page_shows(
    client: SdkClient, site: Site, tmp_path: Path
) -> None:
    key = await site.make_key(client.profile)
    program, query = example_of(client)

    async def are_there() -> bool:
        rows = await fetch(query.text, site.database_url)
        return int(query.options["rows"]) == len(rows)

    if client.side is Side.SERVER:
        await asyncio.to_thread(run_example, client, program.text, site.service.url, key.api_key)
    else:
        page = driver(client, site.service.url, key.api_key, [], tmp_path, program=program.text)
        async with page as running:
            await until(are_there, 30, f"the events of {program.where} are stored: {running.told}")

    rows = await fetch(query.text, site.database_url)
    assert int(query.options["rows"]) == len(rows), program.where
    if query.printed is not None:
        assert query.printed.strip() == as_table(rows), query.where
