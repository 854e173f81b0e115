"""The URL under which clients reach the service, which may be that of a proxy."""

import re
from typing import Final, NamedTuple

from service.edge.addresses import AddressGroups
from service.edge.request import Headers, Scope
from service.reasons import Reason, RefusedError

_PROTOCOLS: Final = frozenset(("http", "https"))
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class PublicUrl(NamedTuple):
    """`host` may have a port and, behind a proxy, a path."""

    protocol: str
    host: str


class PublicUrls:
    """
    Finds the URL that a client used.

    This is `FOREBAY_PUBLIC_URL` if it is set. Else the header Host says it and, in requests of a
    trusted proxy, X-Forwarded-Proto and X-Forwarded-Host.
    """

    def __init__(self, setting: str, addresses: AddressGroups) -> None:
        """Take `FOREBAY_PUBLIC_URL` as *setting*, and the trusted proxies from *addresses*."""
        protocol, _, host = setting.rstrip("/").partition("://")
        self._configured = PublicUrl(protocol, host) if host else None
        self._addresses = addresses

    def of(self, scope: Scope, headers: Headers) -> PublicUrl:
        """
        Return the URL under which the client of a request reached the service.

        Raises
        ------
        RefusedError
            The header Host is missing or not a host name.
        """
        if self._configured is not None:
            return self._configured
        protocol: str = scope["scheme"]
        host = _host(headers.get(b"host"))
        if self._addresses.of(scope["client"][0]) is None:
            host = _host(headers.get(b"x-forwarded-host")) or host
            forwarded = _first(headers.get(b"x-forwarded-proto")).lower()
            protocol = forwarded if forwarded in _PROTOCOLS else protocol
        if host is None:
            raise RefusedError(
                Reason.INVALID_REQUEST, "Host is missing or not a host name.", field="host"
            )
        return PublicUrl(protocol, host)


def _host(value: bytes | None) -> str | None:
    host = _first(value)
    return host if _HOST.fullmatch(host) else None


def _first(value: bytes | None) -> str:
    """Return the first element of a header: that of the proxy next to the client."""
    return "" if value is None else value.decode("latin-1").partition(",")[0].strip()
