"""
Which addresses of clients share a limit of connections.

If these tests fail: one machine counts as many, or a proxy is cut off.
"""

import pytest

from service.edge.addresses import AddressGroups
from service.setting_values import networks


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("10.9.8.7", None),
        ("::ffff:10.9.8.7", None),
        ("fd00::1", None),
    ],
)
def test_an_address_shares_its_limit_with_its_machine_unless_it_is_trusted(
    host: str, group: str | None
) -> None:
    assert group == AddressGroups(networks("10.0.0.0/8, fd00::/8")).of(host)
