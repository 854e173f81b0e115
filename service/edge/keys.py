"""The API key of a request: read from its headers, looked up once, believed for a while."""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog
from cachetools import TTLCache

from service._native import sha256
from service.apikey import Credential, parse
from service.clock import Clock
from service.edge.request import Headers
from service.model import ApiKey
from service.reasons import Reason, Refusal

log = structlog.get_logger()

# What a key that is not there is compared with, so that it takes the path of a wrong secret.
_NOBODY: Final = bytes(32)
_LOOKUPS_MAX: Final = 256
_LOOKUPS_AT_ONCE: Final = 2


_KEY_HEADERS: Final = (b"authorization", b"x-api-key", b"x-write-key")


class _Belief(NamedTuple):
    """What was found under a public id, and until when (monotonic seconds) it is believed."""

    key: ApiKey | None
    until: float


def key_in_headers(headers: Headers) -> str | None:
    """Return the key's text, "" when a header holds no readable one, None without a header."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        return _authorization_key(authorization)
    key = headers.get(b"x-api-key", headers.get(b"x-write-key"))
    return None if key is None else key.decode("latin-1").strip()


def _authorization_key(value: bytes) -> str:
    scheme, _, rest = value.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip().decode("latin-1")
    if scheme.lower() != b"basic":
        return ""
    try:
        pair = base64.b64decode(rest.strip(), validate=True)
    except binascii.Error:
        return ""
    return pair.partition(b":")[0].decode("latin-1")


class KeyRing:
    """
    The keys that this worker believes.

    Unknown keys are remembered too, so that a flood of them does not reach the database. A look-up
    is shared by all requests that wait for it, and is not remembered when the key was changed
    while it was under way.
    """

    def __init__(
        self,
        find: Callable[[str], Awaitable[ApiKey | None]],
        clock: Clock,
        *,
        ttl_s: float,
        keys_max: int,
    ) -> None:
        """*find* asks the store."""
        self._find = find
        self._clock = clock
        self._ttl_s = ttl_s
        self._keys_max = keys_max
        self._known: TTLCache[str, _Belief] = TTLCache(
            maxsize=keys_max, ttl=ttl_s, timer=clock.monotonic
        )
        # By the SHA-256 of a header: most requests bring one that was believed a moment ago.
        self._headers: dict[bytes, _Belief] = {}
        self._lookups: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._turn = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    def believed(self, headers: Headers) -> ApiKey | None:
        """Return the key that *headers* name where it was found good a moment ago; asks nobody."""
        digest = _header_digest(headers)
        belief = None if digest is None else self._headers.get(digest)
        if belief is None or self._clock.monotonic() >= belief.until:
            return None
        assert belief.key is not None  # noqa: S101 - only good keys are remembered here
        return belief.key if self._is_valid(belief.key) else None

    async def in_headers(self, headers: Headers) -> ApiKey | None:
        """
        Return the key that *headers* name, None when they name none.

        Raises
        ------
        Refusal
            As `authenticate` does.
        """
        digest = _header_digest(headers)
        if digest is None:
            return None
        key = self.believed(headers)
        if key is None:
            key = await self.authenticate(key_in_headers(headers) or "")
            self._remember_header(digest, key)
        return key

    async def authenticate(self, text: str) -> ApiKey:
        """
        Return the key that *text* is.

        Raises
        ------
        Refusal
            `unauthorized`, or `store_unavailable` when only the database could tell.
        """
        credential = parse(text)
        if credential is None:
            raise Refusal(Reason.UNAUTHORIZED)
        try:
            key = self._known[credential.key_id].key
        except KeyError:
            key = await self._look_up(credential.key_id)
        if not self._is_good(key, credential):
            raise Refusal(Reason.UNAUTHORIZED)
        assert key is not None  # noqa: S101 - nobody's digest is no key's
        return key

    def forget(self, key_id: str) -> None:
        """Believe nothing about this key any longer, nor what is being looked up."""
        self._known.pop(key_id, None)
        self._lookups.pop(key_id, None)
        self._headers.clear()  # seldom needed, and simpler than to find which were this key's

    def forget_all(self) -> None:
        """Believe nothing: changes may have been missed."""
        self._known.clear()
        self._lookups.clear()
        self._headers.clear()

    def _is_good(self, key: ApiKey | None, credential: Credential) -> bool:
        expected = _NOBODY if key is None else key.secret_sha256
        is_same = hmac.compare_digest(expected, credential.secret_sha256)
        return key is not None and is_same and self._is_valid(key)

    def _is_valid(self, key: ApiKey) -> bool:
        if key.is_disabled:
            return False
        return key.expires_at is None or self._clock.now() < key.expires_at

    async def _look_up(self, key_id: str) -> ApiKey | None:
        lookup = self._lookups.get(key_id)
        if lookup is None:
            if len(self._lookups) >= _LOOKUPS_MAX:
                raise Refusal(Reason.OVERLOADED, "Too many keys are being looked up; try again.")
            lookup = self._lookups[key_id] = asyncio.ensure_future(self._ask(key_id))
            lookup.add_done_callback(lambda done: self._remember(key_id, done))
        try:
            # Shielded: a request that is given up must not take the others' look-up with it.
            return await asyncio.shield(lookup)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.warning("key_lookup_failed", error=type(error).__name__)
            raise Refusal(Reason.STORE_UNAVAILABLE) from error

    async def _ask(self, key_id: str) -> ApiKey | None:
        # Few at a time: a flood of made-up keys must leave the flushes their connections.
        async with self._turn:
            return await self._find(key_id)

    def _remember(self, key_id: str, lookup: "asyncio.Task[ApiKey | None]") -> None:
        if self._lookups.get(key_id) is not lookup:
            return  # the key was changed meanwhile
        del self._lookups[key_id]
        if not lookup.cancelled() and lookup.exception() is None:
            until = self._clock.monotonic() + self._ttl_s
            self._known[key_id] = _Belief(lookup.result(), until)

    def _remember_header(self, digest: bytes, key: ApiKey) -> None:
        belief = self._known.get(key.key_id)
        if belief is None or belief.key is not key:
            return  # the key was changed while it was looked up
        if len(self._headers) >= self._keys_max:
            self._headers.clear()  # one key can be written in many ways
        self._headers[digest] = belief


def _header_digest(headers: Headers) -> bytes | None:
    for name in _KEY_HEADERS:
        value = headers.get(name)
        if value is not None:
            return sha256(name + value)
    return None
