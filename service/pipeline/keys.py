"""Authentication of requests: a cache of API keys, and look-ups of further keys in the store."""

import asyncio
import hmac
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
from cachetools import TTLCache

from service._native import sha256
from service.apikey import Credential, parse
from service.clock import Clock
from service.model import ApiKey
from service.reasons import Reason, RefusedError

log = structlog.get_logger()

# Compared in place of a stored secret if the id is unknown, so that both cases run the same code.
_NO_SECRET: Final = bytes(32)
# Part of the TTL after which a key in use is looked up again; requests do not wait for that.
_REFRESH_AFTER: Final = 2 / 3
# Pause after a failed look-up of a cached key, in seconds.
_RETRY_S: Final = 1.0
# After a failed look-up, a cached key can be used for the timeout of the next look-up plus this
# time, in seconds.
_GRACE_S: Final = 5.0
# Two, so that one stalled connection does not stop all look-ups. Not more, because flushes and
# probes need connections too.
_STATEMENTS_MAX: Final = 2
_PENDING_MAX: Final = 256

FindKeys = Callable[[Sequence[str]], Awaitable[dict[str, ApiKey]]]
"""Returns the stored keys with the given ids, by id."""
Lookup = asyncio.Future[ApiKey | None]


class KeyCacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    Limits of the key cache.

    `ttl_s`: longest use of a key without another look-up, in seconds. `stale_max_s`: the same while
    look-ups fail; a value below `ttl_s` has no effect. `keys_max`: cached keys, unknown ids and
    key texts, each. `lookup_timeout_s`: limit for one look-up, in seconds.
    """

    ttl_s: float
    stale_max_s: float
    keys_max: int
    lookup_timeout_s: float


class CachedKey(msgspec.Struct):
    """
    A key with its times in the cache (monotonic seconds).

    From `refresh_at` on the key is looked up again. Requests may use it until `usable_until`; a
    failed look-up moves that time, at most to `stale_until`.
    """

    key: ApiKey
    refresh_at: float = -math.inf
    usable_until: float = -math.inf
    stale_until: float = -math.inf

    def expire(self) -> None:
        """Require a look-up before the next use."""
        self.refresh_at = self.usable_until = -math.inf


class KeyRing:
    """
    Authenticates requests from a cache, and from the store when a key is not cached.

    Unknown ids have a cache of their own, so that many of them evict no key. All requests for a key
    share one look-up; its result is not cached if the key has changed in the meantime.
    """

    def __init__(self, find: FindKeys, clock: Clock, config: KeyCacheConfig) -> None:
        self._lookups = Lookups(find, timeout_s=config.lookup_timeout_s)
        self._clock = clock
        self._config = config
        # In order of their last look-up, oldest first.
        self._known: dict[str, CachedKey] = {}
        self._unknown: TTLCache[str, None] = TTLCache(
            maxsize=config.keys_max, ttl=config.ttl_s, timer=clock.monotonic
        )
        # By the SHA-256 of the text of the key, so that the text is not kept: most requests send a
        # text that was valid before.
        self._texts: dict[bytes, CachedKey] = {}
        self._running: dict[str, Lookup] = {}

    def cached(self, text: bytes) -> CachedKey | None:
        """Return the key with this *text* if it is cached and valid."""
        cached = self._texts.get(sha256(text))
        if cached is None or self._clock.monotonic() >= cached.refresh_at:
            return None
        return cached if self._is_valid(cached.key) else None

    async def authenticate(self, text: bytes) -> CachedKey:
        """
        Return the key with this *text*, from the store if it is not cached.

        Raises
        ------
        RefusedError
            `unauthorized`; `store_unavailable` or `overloaded` when the look-up is impossible.
        """
        credential = parse(text.decode("latin-1"))
        if credential is None:
            raise RefusedError(Reason.UNAUTHORIZED)
        cached = await self._authenticate(credential)
        if len(self._texts) >= self._config.keys_max:
            self._texts.clear()
        self._texts[sha256(text)] = cached
        return cached

    def is_current(self, cached: CachedKey) -> bool:
        """Whether a request may use *cached* now."""
        return self._clock.monotonic() < cached.usable_until and self._is_valid(cached.key)

    async def renew(self, cached: CachedKey) -> ApiKey:
        """
        Return the current state of a key whose cache entry is no longer current.

        Raises
        ------
        RefusedError
            As `authenticate` does: it may have been revoked.
        """
        key = cached.key
        return (await self._authenticate(Credential(key.key_id, key.secret_sha256))).key

    def forget(self, key_id: str) -> None:
        """Remove a changed key from the cache and discard its running look-up."""
        self._drop(key_id)
        self._unknown.pop(key_id, None)
        self._running.pop(key_id, None)

    def forget_all(self) -> None:
        """Require a look-up of each key before its next use: changes may have been missed."""
        for cached in self._known.values():
            cached.expire()
        self._unknown.clear()
        self._running.clear()

    async def _authenticate(self, credential: Credential) -> CachedKey:
        cached = await self._find(credential.key_id)
        expected = _NO_SECRET if cached is None else cached.key.secret_sha256
        is_same = hmac.compare_digest(expected, credential.secret_sha256)
        if cached is None or not is_same or not self._is_valid(cached.key):
            raise RefusedError(Reason.UNAUTHORIZED)
        return cached

    def _is_valid(self, key: ApiKey) -> bool:
        if key.is_disabled:
            return False
        return key.expires_at is None or self._clock.now() < key.expires_at

    async def _find(self, key_id: str) -> CachedKey | None:
        """
        Return the cache entry of the key with this id; None if there is no such key.

        If the key changed during the look-up, the entry returned is expired (not `is_current`).
        """
        cached = self._known.get(key_id)
        if cached is None and key_id in self._unknown:
            return None
        now = self._clock.monotonic()
        if cached is not None and now < cached.refresh_at:
            return cached
        lookup = self._look_up(key_id, is_known=cached is not None)
        if cached is not None and now < cached.usable_until:
            return cached
        try:
            # Shielded: a cancelled request must not cancel the look-up that others wait for.
            key = await asyncio.shield(lookup)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if cached is not None and self.is_current(cached):
                return cached
            raise RefusedError(Reason.STORE_UNAVAILABLE) from error
        if key is None:
            return None
        cached = self._known.get(key_id)
        return cached if cached is not None and cached.key is key else CachedKey(key)

    def _look_up(self, key_id: str, *, is_known: bool) -> Lookup:
        lookup = self._running.get(key_id)
        if lookup is None:
            # The limit is for unknown ids; known keys are limited by the cache.
            if not is_known and self._lookups.is_full:
                raise RefusedError(Reason.OVERLOADED, "Too many unknown keys are being looked up.")
            lookup = self._running[key_id] = self._lookups.begin(key_id)
            lookup.add_done_callback(lambda done: self._looked_up(key_id, done))
        return lookup

    def _looked_up(self, key_id: str, lookup: Lookup) -> None:
        error = lookup.exception()
        if self._running.get(key_id) is not lookup:
            return  # the key has changed in the meantime
        del self._running[key_id]
        if error is not None:
            self._extend(key_id)
        elif (key := lookup.result()) is not None:
            self._remember(key)
        else:
            self._drop(key_id)
            self._unknown[key_id] = None

    def _remember(self, key: ApiKey) -> None:
        now, config = self._clock.monotonic(), self._config
        cached = self._known.pop(key.key_id, None)
        if cached is None or cached.key.secret_sha256 != key.secret_sha256:
            if cached is not None:
                cached.expire()  # cached texts with the old secret refer to this entry
            cached = CachedKey(key)
        cached.key = key
        cached.refresh_at = now + config.ttl_s * _REFRESH_AFTER
        cached.usable_until = now + config.ttl_s
        cached.stale_until = now + config.stale_max_s
        self._known[key.key_id] = cached
        if len(self._known) > config.keys_max:
            self._drop(next(iter(self._known)))

    def _extend(self, key_id: str) -> None:
        """Extend the use of a valid key after a failed look-up, at most to `stale_until`."""
        cached = self._known.get(key_id)
        if cached is None:
            return
        now = self._clock.monotonic()
        if self._is_valid(cached.key):
            longer = min(now + self._lookups.timeout_s + _GRACE_S, cached.stale_until)
            cached.usable_until = max(cached.usable_until, longer)
        cached.refresh_at = min(now + _RETRY_S, cached.usable_until)

    def _drop(self, key_id: str) -> None:
        cached = self._known.pop(key_id, None)
        if cached is not None:
            cached.expire()  # running requests check the entry before they store


class Lookups:
    """
    Key look-ups of one worker: one statement, with one deadline, for all pending ids.

    While two statements run, further ids are pending, and the next statement looks all of them up:
    many unknown ids take no more time than one. Pending ids share the deadline of the first of
    them, which includes the wait for a statement; the deadlines of running statements are earlier.
    """

    def __init__(self, find: FindKeys, *, timeout_s: float) -> None:
        """*find* is cancelled at the deadline."""
        self.timeout_s = timeout_s
        self._find = find
        self._pending: dict[str, Lookup] = {}
        self._deadline = 0.0
        self._statements: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether so many ids are pending that unknown ones have to be refused."""
        return len(self._pending) >= _PENDING_MAX

    def begin(self, key_id: str) -> Lookup:
        """
        Look *key_id* up; the result is None when there is no such key.

        The result is set within `timeout_s`, to the error of the store if it could not answer.
        """
        pending = self._pending.get(key_id)
        if pending is not None:
            return pending
        loop = asyncio.get_running_loop()
        lookup: Lookup = loop.create_future()
        if not self._pending:
            self._deadline = loop.time() + self.timeout_s
        self._pending[key_id] = lookup
        self._start()
        return lookup

    def _start(self) -> None:
        if self._pending and len(self._statements) < _STATEMENTS_MAX:
            lookups, self._pending = self._pending, {}
            statement = asyncio.create_task(self._run(lookups, self._deadline))
            self._statements.add(statement)
            statement.add_done_callback(partial(self._ended, lookups))

    async def _run(self, lookups: dict[str, Lookup], deadline: float) -> None:
        async with asyncio.timeout_at(deadline):
            found = await self._find(list(lookups))
        for key_id, lookup in lookups.items():
            lookup.set_result(found.get(key_id))

    def _ended(self, lookups: dict[str, Lookup], statement: "asyncio.Task[None]") -> None:
        self._statements.discard(statement)
        error = asyncio.CancelledError() if statement.cancelled() else statement.exception()
        if error is not None:
            # A cancelled statement must not cancel the requests that wait for it.
            failure = error if isinstance(error, Exception) else RuntimeError("look-up cancelled")
            for lookup in lookups.values():
                lookup.set_exception(failure)
        self._start()
        if error is not None:
            log.warning("key_lookup_failed", error=type(error).__name__, keys=len(lookups))
