"""
The URL under which a client reached the service, for documents that name it.

If these tests fail: browser SDKs send their events to a place that does not exist.
"""

import pytest

from service.edge.addresses import AddressGroups
from service.edge.public_url import PublicUrls
from service.edge.request import Headers
from service.reasons import Reason, RefusedError
from service.setting_values import networks

PROXY = "10.0.0.1"
FORWARDED = {b"x-forwarded-host": b"events.shop.example", b"x-forwarded-proto": b"https"}


def found(
    headers: Headers, setting: str = "", client: str = "203.0.113.7", scheme: str = "http"
) -> str:
    urls = PublicUrls(setting, AddressGroups(networks("10.0.0.0/8")))
    return "://".join(urls.of({"client": (client, "1"), "scheme": scheme}, headers))


@pytest.mark.parametrize(
    "host", ["shop.example", "a_b-c.example:8443", "127.0.0.1:8000", "[::1]", "[fd00::1]:8000"]
)
def test_host_names_the_place(host: str) -> None:
    assert f"http://{host}" == found({b"host": host.encode()})
    assert f"https://{host}" == found({b"host": host.encode()}, scheme="https")


def test_a_trusted_proxy_says_what_its_client_used() -> None:
    host = {b"host": b"forebay:8000"}

    assert "https://events.shop.example" == found(host | FORWARDED, client=PROXY)
    assert "http://forebay:8000" == found(host, client=PROXY)
    assert "https://forebay:8000" == found(host | {b"x-forwarded-proto": b"HTTPS"}, client=PROXY)


def test_of_several_proxies_the_first_one_counts() -> None:
    headers = {b"x-forwarded-host": b"a.example, b.example", b"x-forwarded-proto": b"https,http"}

    assert "https://a.example" == found(headers, client=PROXY)


def test_a_client_that_is_not_trusted_says_nothing_of_a_proxy() -> None:
    assert "http://shop.example" == found({b"host": b"shop.example"} | FORWARDED)


@pytest.mark.parametrize("value", [b"", b"ftp", b"https://x", b"\xff"])
def test_an_unknown_protocol_of_a_proxy_is_ignored(value: bytes) -> None:
    headers = {b"host": b"shop.example", b"x-forwarded-proto": value, b"x-forwarded-host": b"a/b"}

    assert "http://shop.example" == found(headers, client=PROXY)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("https://events.example.com", "https://events.example.com"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://example.com/events", "https://example.com/events"),
    ],
)
def test_the_setting_goes_first(setting: str, expected: str) -> None:
    assert expected == found({b"host": b"forebay"} | FORWARDED, setting, PROXY)
    assert expected == found({}, setting)


@pytest.mark.parametrize("host", [None, b"", b"a/b", b"a b", b"user@host", b"a" * 300, b"h:port"])
def test_a_host_that_is_none_is_refused(host: bytes | None) -> None:
    with pytest.raises(RefusedError) as caught:
        found({} if host is None else {b"host": host})

    assert (Reason.INVALID_REQUEST, "host") == (caught.value.reason, caught.value.details["field"])
