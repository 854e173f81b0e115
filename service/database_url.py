"""
DATABASE_URL: parsed, checked and described, for the service and for the commands.

No message quotes a part of the URL that may belong to the password. If a password has an unescaped
special character, the rest of it is parsed as the host, the path or a parameter. So messages quote
nothing until the end of the password is certain.
"""

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from service.url_parameters import UrlParameterError, Use, checked_parameter

_SCHEMES: Final = ("postgresql", "postgres")
_PORT_DEFAULT: Final = 5432
_PORT_MAX: Final = 65_535
# Authority, path, query, fragment.
_PARTS: Final = re.compile(r"([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?(#.*)?", re.DOTALL)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_IPV6: Final = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\](?::(\d+))?")
_HOST: Final = re.compile(r"([^:\[\]]*)(?::(\d+))?")
_SECRETS: Final = frozenset({"password", "sslpassword"})
_FORM: Final = (
    "DATABASE_URL is not a valid URL of a PostgreSQL database, such as"
    " postgresql://user:password@host:5432/database"
)


class DatabaseUrlError(ValueError):
    """DATABASE_URL cannot be used; the message says why, without any part of the password."""


class Host(NamedTuple):
    """A host name, an IP address or the folder of a Unix socket, with a port."""

    name: str
    port: int

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port}"


class DatabaseUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A checked DATABASE_URL."""

    url: str
    """The URL for asyncpg, with the password."""
    place: str
    """Hosts and database, for messages."""
    server_settings: dict[str, str]
    """Parameters that the server gets as settings of the session."""
    application_name: str | None
    connect_timeout_s: float | None

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.place})"


def parse(text: str) -> DatabaseUrl:
    """
    Check the text of DATABASE_URL.

    Raises
    ------
    DatabaseUrlError
        The text is not a URL of PostgreSQL, or has a parameter that Forebay does not support.
    """
    scheme, _, rest = text.strip().partition("://")
    if scheme not in _SCHEMES:
        raise DatabaseUrlError(f"{_FORM}: it has to begin with postgresql://")
    authority, path, query = _split(rest)
    login, _, host_list = authority.rpartition("@")
    user, _, password = login.partition(":")
    own = {"user": _decoded(user), "password": _decoded(password)}
    own["database"] = _decoded((path or "/")[1:])
    hosts = list(_hosts(host_list))
    try:
        given = _parameters(query)
    except UrlParameterError as error:
        raise DatabaseUrlError(f"DATABASE_URL: {error}") from None
    driver, settings = given["driver"], given["server"]
    own |= {name: driver.pop(name) for name in own if name in driver}
    own["database"] = driver.pop("dbname", own["database"])
    hosts = _located(hosts, driver.pop("host", ""), driver.pop("port", ""))
    if len(hosts) > 1:
        # Forebay writes, so of several servers it needs the primary.
        driver.setdefault("target_session_attrs", "primary")
    timeout = given["forebay"].get("connect_timeout")
    return DatabaseUrl(
        url=_written(own, hosts, driver | settings),
        place=_place(hosts, own["database"]),
        server_settings=settings,
        application_name=given["forebay"].get("application_name"),
        connect_timeout_s=None if timeout is None else float(timeout),
    )


def _split(rest: str) -> tuple[str, str | None, str]:
    match = _PARTS.fullmatch(rest)
    assert match is not None  # noqa: S101 - the pattern matches every text
    authority, path, query, fragment = match.groups()
    # The last @ ends the password. A second @, or an @ after the authority, means that the password
    # has an unescaped character.
    has_unescaped_password = rest.count("@") > 1 or ("@" in rest and "@" not in authority)
    if has_unescaped_password or fragment is not None:
        raise DatabaseUrlError(
            f"{_FORM}: percent-encode special characters,"
            " @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, % as %25"
        )
    return authority, path, query or ""


def _decoded(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise DatabaseUrlError(f"{_FORM}: write the character % as %25")
    try:
        value = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise DatabaseUrlError(f"{_FORM}: a percent-encoded character is not UTF-8") from None
    if _CONTROL.search(value):
        raise DatabaseUrlError(f"{_FORM}: it has a control character")
    return value


def _hosts(host_list: str) -> Iterator[Host | int]:
    """Yield each host. If the URL has a port and no host, yield the port: PGHOST names the host."""
    if not host_list:
        return
    parts = host_list.split(",")
    for part in parts:
        match = (_IPV6 if part.startswith("[") else _HOST).fullmatch(part)
        if match is None:
            raise DatabaseUrlError(f"{_FORM}: its host or port is not valid")
        name, port = _decoded(match[1]), _port(match[2] or "")
        if not name and len(parts) > 1:
            raise DatabaseUrlError(f"{_FORM}: one of its hosts is empty")
        yield Host(name, port) if name else port


def _port(text: str) -> int:
    if not text:
        return _PORT_DEFAULT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= _PORT_MAX:
        raise DatabaseUrlError(f"{_FORM}: its port is not a number from 1 to {_PORT_MAX}")
    return int(text)


def _parameters(query: str) -> dict[Use, dict[str, str]]:
    """Return the values of the parameters by name, for each component that uses them."""
    given: dict[Use, dict[str, str]] = {"driver": {}, "server": {}, "forebay": {}, "none": {}}
    is_after_secret = False
    for pair in filter(None, query.split("&")):
        name, equals, text = pair.partition("=")
        if not equals:
            raise DatabaseUrlError(f"{_FORM}: a parameter after the ? has no value")
        name, value = _decoded(name), _decoded(text)
        is_after_secret = is_after_secret or name in _SECRETS
        given[checked_parameter(name, value, is_name_secret=is_after_secret)][name] = value
    return given


def _located(hosts: list[Host | int], names: str, ports: str) -> list[Host | int]:
    """Apply the parameters `host` and `port`, which override the hosts before the path."""
    numbers = [_port(text.strip()) for text in ports.split(",")] if ports else []
    if names:
        hosts = [Host(name.strip().strip("[]"), _PORT_DEFAULT) for name in names.split(",")]
    if not numbers:
        return hosts
    if not hosts:
        return list(numbers[:1])
    if len(numbers) not in {1, len(hosts)}:
        raise DatabaseUrlError(
            f"DATABASE_URL: the parameter port has {len(numbers)} ports for {len(hosts)} hosts"
        )
    numbers *= len(hosts) // len(numbers)
    return [
        Host(host.name, number) if isinstance(host, Host) else number
        for host, number in zip(hosts, numbers, strict=True)
    ]


def _written(own: dict[str, str], hosts: list[Host | int], parameters: dict[str, str]) -> str:
    login = quote(own["user"], safe="")
    if own["password"]:
        login += ":" + quote(own["password"], safe="")
    names = [host for host in hosts if isinstance(host, Host)]
    if hosts and not names:
        parameters = parameters | {"port": str(hosts[0])}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    return (
        f"postgresql://{login}{'@' if login else ''}{','.join(map(_host_in_url, names))}"
        f"/{quote(own['database'], safe='')}{'?' if query else ''}{query}"
    )


def _host_in_url(host: Host) -> str:
    return str(host if ":" in host.name else Host(quote(host.name, safe=""), host.port))


def _place(hosts: list[Host | int], database: str) -> str:
    shown = ",".join(str(host) for host in hosts if isinstance(host, Host))
    return f"{shown or os.environ.get('PGHOST') or 'the local socket'}/{database}"
