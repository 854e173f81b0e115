"""Addresses of clients: which ones share a limit, and which ones have none."""

import ipaddress
from functools import lru_cache
from typing import Final

from service.setting_values import Network

# A provider gives a customer a network of this size: one machine has all of its addresses.
_IPV6_PREFIX: Final = 64
_CACHED_MAX: Final = 4_096


class AddressGroups:
    """Groups the addresses of clients: an IPv4 address, or an IPv6 network of 64 bits."""

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted
        self.of = lru_cache(_CACHED_MAX)(self._of)
        """The group of an address; None for an address of a trusted network."""

    def _of(self, host: str) -> str | None:
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address):
            # On a socket for both families, IPv4 addresses are mapped.
            address = address.ipv4_mapped or address
        # A network of the other family contains no address.
        if any(address in network for network in self._trusted):
            return None
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
