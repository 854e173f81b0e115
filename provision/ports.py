"""Is a port free, and how do we reach it from here."""

import socket
from typing import Final

from provision.errors import ProvisionError

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - as text


def require_free(host: str, port: int, remedy: str) -> None:
    """
    Check that we may listen there.

    Raises
    ------
    ProvisionError
        Somebody else does; the message names the port and *remedy*, how to choose another.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As a server does: connections just closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ProvisionError(
            f"cannot listen on port {port} of {host} ({error.strerror or error}): {remedy}"
        ) from error


def reachable(host: str) -> str:
    """Return an address of this machine under which a server that listens on *host* answers."""
    return _ANY.get(host, host)


def http_url(host: str, port: int, path: str = "") -> str:
    """Return the URL of a server that listens on *host*."""
    address = reachable(host)
    return f"http://{f'[{address}]' if ':' in address else address}:{port}{path}"
