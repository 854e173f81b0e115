"""A running service and a tenant for each page."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from provision.keys import NewKey, Profile
from tests.acceptance.running import Service
from tests.conftest import MakeTenant

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"


class Reader:
    """What the reader of a page has: a running service, its database, and a key."""

    def __init__(self, service: Service, key: NewKey, database_url: str) -> None:
        self.database_url = database_url
        self.environment = os.environ | {
            "URL": service.url,
            "KEY": key.api_key,
            "DATABASE_URL": database_url,
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
        }


@pytest.fixture
async def reader(
    database_url: str, make_tenant: MakeTenant, tmp_path: Path
) -> AsyncIterator[Reader]:
    """Start the service for one page."""
    if shutil.which("curl") is None:
        pytest.skip("the examples are curl commands, and there is no curl on this machine")
    key = await make_tenant("acme", profile=Profile.DEFAULT)
    with contextlib.ExitStack() as stack:
        service = Service(database_url, tmp_path, workers="1")
        stack.callback(service.kill)
        await service.start()
        yield Reader(service, key, database_url)
        assert await asyncio.wait_for(service.stop(), 30) == 0
