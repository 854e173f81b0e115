"""
The addresses that the service listens on, and its messages about unusable ones.

If these tests fail: an operator cannot bind the service to the configured address, or gets no
message with the reason.
"""

import socket

import httpx
import pytest

from tests.acceptance.conftest import MakeService, StartSite


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "reached"), [("localhost", "127.0.0.1"), ("[::]", "[::1]"), ("::1", "[::1]")]
)
async def test_the_service_listens_on_host_names_and_on_ipv4_and_ipv6_addresses(
    make_service: MakeService, host: str, reached: str
) -> None:
    if reached == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    service = make_service(host=host, metrics_host=host, workers="1")
    service.url = f"http://{reached}:{service.port}"
    await service.start()

    async with httpx.AsyncClient(verify=False) as client:
        metrics = await client.get(f"http://{reached}:{service.metrics_port}/metrics")

    assert metrics.status_code == 200
    assert await service.stop() == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": ""}, ["FOREBAY_HOST=''", "an address or a host name"]),
        ({"host": "no.such.invalid"}, ["FOREBAY_HOST='no.such.invalid'", "has no address"]),
        ({"host": "[::1"}, ["FOREBAY_HOST"]),
        ({"host": "a..b"}, ["FOREBAY_HOST='a..b'", "has no address"]),
        ({"host": "192.0.2.7"}, ["192.0.2.7", "set FOREBAY_HOST"]),
        ({"metrics_host": "192.0.2.7"}, ["192.0.2.7", "set FOREBAY_METRICS_HOST"]),
        ({"metrics_host": "http://127.0.0.1"}, ["FOREBAY_METRICS_HOST", "has no address"]),
        ({"log_level": "loud"}, ["FOREBAY_LOG_LEVEL='loud'", "debug, info, warning, error"]),
    ],
)
async def test_an_unusable_address_is_reported_in_one_sentence(
    make_service: MakeService, settings: dict[str, str], words: list[str]
) -> None:
    complaint = await make_service(**settings).complaint()
    for word in words:
        assert word in complaint


@pytest.mark.parametrize("metrics_host", ["127.0.0.1", "0.0.0.0", "localhost"])
async def test_one_port_for_events_and_metrics_is_refused(
    make_service: MakeService, metrics_host: str
) -> None:
    service = make_service(metrics_host=metrics_host)
    service._environment["FOREBAY_METRICS_PORT"] = str(service.port)

    complaint = await service.complaint()

    assert f"FOREBAY_PORT and FOREBAY_METRICS_PORT are both {service.port}" in complaint


async def test_ignored_kubernetes_variables_are_named_in_one_log_line(
    start_site: StartSite,
) -> None:
    site = await start_site(
        service_host="10.0.0.1", service_port="8000", port_8000_tcp="tcp://10.0.0.1:8000"
    )

    (line,) = site.service.log_lines("kubernetes_variables_ignored")
    expected = ["FOREBAY_PORT_8000_TCP", "FOREBAY_SERVICE_HOST", "FOREBAY_SERVICE_PORT"]
    assert (expected, "info") == (line["names"], line["level"])
    assert await site.service.stop() == 0
