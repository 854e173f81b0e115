"""
Resolution of host names to listen on. Binding is tested in tests/acceptance.

If these tests fail: the service listens on an address that its clients cannot reach.
"""

import socket

import pytest

from service.config import Config
from service.listening import ListenError, checked_addresses, in_order


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["::1", "127.0.0.1"], ["127.0.0.1", "::1"]),
        (["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"], ["10.0.0.2", "10.0.0.1", "fd00::1"]),
        (["fd00::2", "fd00::1"], ["fd00::2", "fd00::1"]),
    ],
)
def test_of_several_addresses_the_first_ipv4_address_is_used(
    found: list[str], expected: list[str]
) -> None:
    assert expected == in_order(found)


def test_a_name_is_resolved_and_brackets_are_not_part_of_an_address() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = one.getsockname()[1], two.getsockname()[1]

    public, metrics = checked_addresses(
        Config(host="localhost", port=ports[0], metrics_host="[127.0.0.1]", metrics_port=ports[1])
    )

    assert ("localhost", "127.0.0.1", ports[0]) == public[:3]
    assert ("[127.0.0.1]", "127.0.0.1", ports[1]) == metrics[:3]


def test_the_message_about_a_taken_port_has_the_port_and_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=rf"port {port} .*: set --port or FOREBAY_PORT$"):
            checked_addresses(Config(port=port), "--port or FOREBAY_PORT")
