"""
Requests as SDKs send them, each with the answer that the SDK needs.

`sdk_requests` has one file for each request, recorded with the SDK that it names; `{key}` and
`{host}` stand for the key and the place of the service.

If these tests fail: an SDK that works by changing its host no longer does, or a page cannot read
the answer.
"""

import base64
import json
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from provision.keys import NewKey
from tests.acceptance.site import Site

FOLDER: Final = Path(__file__).parent / "sdk_requests"
FILES: Final = sorted(FOLDER.glob("*.json"))


class SdkRequest(msgspec.Struct, forbid_unknown_fields=True):
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    """`stored`: the ids of the events that are stored."""

    status: int
    body: Any = None
    code: str | None = None
    stored: list[str] = []


class Case(msgspec.Struct, forbid_unknown_fields=True):
    client: str
    request: SdkRequest
    answer: Expected


def read_case(path: Path, key: NewKey, host: str) -> Case:
    text = path.read_text(encoding="utf-8")
    for name, value in (("{key}", key.api_key), ("{key_id}", key.key_id), ("{host}", host)):
        text = text.replace(name, value)
    return msgspec.json.decode(text, type=Case)


def headers_of(request: SdkRequest) -> dict[str, str]:
    headers = dict(request.headers)
    scheme, _, pair = headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_an_sdk_gets_the_answer_that_it_needs(shared: Site, path: Path) -> None:
    key = await shared.make_key()
    case = read_case(path, key, shared.service.url.removeprefix("http://"))
    request, expected = case.request, case.answer
    content = b"" if request.body is None else json.dumps(request.body).encode()
    async with shared.client() as client:
        answer = await client.request(
            request.method, request.path, headers=headers_of(request), content=content
        )

    assert expected.status == answer.status_code, answer.text
    if expected.body is not None:
        assert expected.body == answer.json()
    if expected.code is not None:
        # Old SDKs fail without these two.
        assert expected.code == answer.json()["code"]
        assert isinstance(answer.json()["message"], str)
    if expected.stored:
        assert answer.json()["success"] is True
    assert expected.stored == await shared.event_ids(key)
    if "Origin" in request.headers:
        check_cors(request, answer)


def check_cors(request: SdkRequest, answer: httpx.Response) -> None:
    """Check by the rules of the Fetch standard that a page can read the answer."""
    assert "*" == answer.headers["access-control-allow-origin"]
    assert {"Retry-After", "X-Request-Id"} == set(
        answer.headers["access-control-expose-headers"].split(", ")
    )
    assert "access-control-allow-credentials" not in answer.headers
    if request.method == "OPTIONS":
        asked = request.headers["Access-Control-Request-Headers"].split(",")
        assert set(asked) <= set(answer.headers["access-control-allow-headers"].split(", "))
        method = request.headers["Access-Control-Request-Method"]
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        assert int(answer.headers["access-control-max-age"]) > 0
