"""
Keys in URLs: read only where an SDK sends them there, and shown nowhere.

If these tests fail: whoever reads the log, the metrics or an error finds a key.
"""

import secrets
from typing import Final

import httpx
import pytest

from service import apikey
from tests.acceptance.conftest import StartSite
from tests.acceptance.site import Site, track

# With a key in each of them.
URLS: Final = (
    *("/v1/projects/{}/settings", "/v1/projects/{}/settings/?a={}", "/v1/projects/{}:x/settings"),
    *("/v1/projects/{}", "/v1/projects/a/{}/settings", "/v1/projects/{}/settings/more"),
    *("/sourceConfig/?writeKey={}", "/sourceConfig?writeKey={}&writeKey=b", "/sourceConfig/{}"),
    *("/beacon/v1/batch?writeKey={}", "/beacon/v1/batch/?writeKey={}:x&a", "/beacon/{}"),
    *("/beacon/v1/batch?writeKey={}&writeKey=b", "/v1/m?writeKey={}", "/api/s/{}?writeKey={}"),
    *("/v1/track?writeKey={}", "/v1/b?writeKey={}", "/{}", "/health?key={}", "/?{}"),
)
METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS", "PUT")
DOCUMENTS: Final = ("/v1/projects/", "/sourceConfig")


async def test_no_log_metric_or_error_shows_a_key_of_a_url(start_site: StartSite) -> None:
    site = await start_site(log_level="debug", unauthorized_per_second="1000000")
    key, made_up = await site.make_key(), apikey.mint().text
    page = {"origin": f"https://{secrets.token_hex(4)}.example"}
    answers: list[httpx.Response] = []
    async with site.client() as client:
        for text in (key.api_key, made_up, key.api_key[:-1]):
            for url in URLS:
                for method in METHODS:
                    address = url.replace("{}", text)
                    body = b"" if method in {"GET", "HEAD"} else b'{"batch":[7]}'
                    answers.append(
                        await client.request(method, address, content=body, headers=page)
                    )
        async with httpx.AsyncClient(verify=False) as other:
            metrics = (await other.get(site.service.metrics_url)).text
    assert await site.service.stop() == 0

    shown = [site.service.log, site.service.complaints, metrics]
    for answer in answers:
        is_document = answer.url.path.startswith(DOCUMENTS) and answer.status_code == 200
        shown += ["" if is_document else answer.text, str(answer.headers)]
    for text in (key.api_key, made_up):
        secret = text.rpartition("_")[2]
        assert not [each for each in shown if secret[:-1] in each]
    assert {200, 204, 400, 401, 404, 405} == {answer.status_code for answer in answers}
    assert {"settings", "source_config", "beacon", "client_metrics", "unknown"} <= {
        line["endpoint"] for line in site.service.log_lines("request")
    }
    assert 'endpoint="settings"' in metrics


@pytest.mark.parametrize("name", ["writeKey", "write_key", "key", "apiKey"])
@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/v1/t", "/v1/import/", "/api/s/track"])
async def test_a_key_in_the_query_counts_for_a_beacon_only(
    shared: Site, path: str, name: str
) -> None:
    key = await shared.make_key()
    body = track() | {"batch": [track()]}
    async with shared.client() as client:
        answer = await client.post(f"{path}?{name}={key.api_key}", json=body)
        beacon = await client.post(f"/beacon/v1/batch?{name}={key.api_key}", json=body)

    assert 401 == answer.status_code
    assert (200 if name == "writeKey" else 401) == beacon.status_code
