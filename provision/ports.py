"""Addresses at which this machine reaches a server of its own."""

from typing import Final

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - as text


def reachable(host: str) -> str:
    """Return an address of this machine under which a server that listens on *host* answers."""
    return _ANY.get(host, host)


def http_url(host: str, port: int, path: str = "") -> str:
    """Return the URL of a server that listens on *host*."""
    address = reachable(host)
    return f"http://{f'[{address}]' if ':' in address else address}:{port}{path}"
