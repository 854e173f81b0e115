"""Addresses to listen on: resolves names, and checks that each address can be used."""

import errno
import ipaddress
import socket
from typing import Final, NamedTuple

from service.config import Config, ConfigError

_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - as text
# Errors of bind() that are about the port; all others are about the host.
_ABOUT_PORT: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


class ListenError(ConfigError):
    """The service cannot listen on this address; the message names the setting to change."""


class Address(NamedTuple):
    """An address to listen on."""

    name: str
    """The value of the setting."""
    host: str
    port: int
    others: tuple[str, ...] = ()
    """Further addresses of the name, which are not used."""


class _Asked(NamedTuple):
    host: str
    port: int
    host_variable: str
    port_variable: str


def checked_addresses(
    settings: Config, port_variable: str = "FOREBAY_PORT"
) -> tuple[Address, Address]:
    """
    Return the addresses for events and for /metrics, after a test bind of each.

    Raises
    ------
    ListenError
        One of the names has no address, or one of the ports is taken.
    """
    public = _Asked(settings.host, settings.port, "FOREBAY_HOST", port_variable)
    metrics = _Asked(
        *(settings.metrics_host, settings.metrics_port),
        *("FOREBAY_METRICS_HOST", "FOREBAY_METRICS_PORT"),
    )
    addresses = _resolved(public), _resolved(metrics)
    hosts = {address.host for address in addresses}
    if public.port == metrics.port and (len(hosts) == 1 or hosts & _ANY):
        raise ListenError(
            f"FOREBAY_PORT and FOREBAY_METRICS_PORT are both {public.port}: set one of them to"
            " another port"
        )
    for asked, address in zip((public, metrics), addresses, strict=True):
        _require_free(asked, address)
    return addresses


def _resolved(asked: _Asked) -> Address:
    is_bracketed = asked.host.startswith("[") and asked.host.endswith("]")
    name = asked.host[1:-1] if is_bracketed else asked.host
    try:
        return Address(asked.host, str(ipaddress.ip_address(name)), asked.port)
    except ValueError:
        pass  # a name
    try:
        found = socket.getaddrinfo(name, asked.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a host name"
        raise ListenError(
            f"{asked.host_variable}={asked.host!r} has no address ({reason}): give an address of"
            " this machine, such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None
    first, *others = in_order([str(address[0]) for *_, address in found])
    return Address(asked.host, first, asked.port, tuple(others))


def in_order(addresses: list[str]) -> list[str]:
    """Return each address once, IPv4 first, because every client can reach IPv4 addresses."""
    return sorted(dict.fromkeys(addresses), key=lambda address: ":" in address)


def _require_free(asked: _Asked, address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Servers set this option too. Without it recently closed connections block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        variable = asked.port_variable if error.errno in _ABOUT_PORT else asked.host_variable
        raise ListenError(
            f"cannot listen on port {address.port} of {address.host} ({error.strerror}):"
            f" set {variable}"
        ) from None
