"""Profiles of keys on this service: which one allows a request that is too large for its key."""

from typing import Final, NamedTuple

from service.model import PROFILE_LIMITS, SEGMENT, Limits
from service.reasons import Reason, RefusedError


class RequestSize(NamedTuple):
    """The size of a request, as far as it is known; `expanded_bytes`: context in each event."""

    body_bytes: int
    events: int = 0
    expanded_bytes: int = 0


class Profiles:
    """The limits of each profile, and the sentence about a profile in a refusal."""

    def __init__(self, defaults: Limits, expansion_max: int) -> None:
        """
        *defaults*: of keys without limits of their own.

        *expansion_max*: limit of `expanded_bytes`, as a multiple of the limit of bytes.
        """
        self._limits: Final = {name: own or defaults for name, own in PROFILE_LIMITS.items()}
        self._expansion_max: Final = expansion_max
        self.without_key: Final = Limits(
            max(defaults.bytes_max, SEGMENT.bytes_max), max(defaults.events_max, SEGMENT.events_max)
        )
        """
        Limits of a request without a key in its headers, which anybody can send.

        Of the SDKs with the key in the body alone, Segment's send the largest requests.
        """

    def advised(
        self, refusal: RefusedError, size: RequestSize | None, place: str = ""
    ) -> RefusedError:
        """
        Return *refusal*, of a request that is too large, with the profile that allows its *size*.

        If *size* is not known (None), the largest profile is described. *place*: of the key.
        """
        name = self._largest() if size is None else self._fitting(size)
        if name is None:
            return refusal
        limits = self._limits[name]
        message = (
            f"{refusal.message} A key with the profile {name}{place} may send {limits.events_max}"
            f" events and {limits.bytes_max} bytes in a request."
        )
        known = {} if size is None else {"profile": name}
        return RefusedError(refusal.reason, message, **refusal.details, **known)

    def body_refused(self, refusal: RefusedError, *, has_key: bool) -> RefusedError:
        """
        Return the *refusal* of a body, with the profile that allows it if it is too large.

        *has_key*: a header has a key.
        """
        if refusal.reason is not Reason.PAYLOAD_TOO_LARGE:
            return refusal
        actual, limit = refusal.details["actual"], int(refusal.details["limit"])
        size = RequestSize(actual) if isinstance(actual, int) else None
        if size is None and self._limits[self._largest()].bytes_max <= limit:
            size = RequestSize(limit + 1)
        if has_key:
            return self.advised(refusal, size)
        message = f"{refusal.message} This is the limit of a request with its key in the body."
        refusal = RefusedError(refusal.reason, message, **refusal.details)
        return self.advised(refusal, size, " in a header")

    def _fitting(self, size: RequestSize) -> str | None:
        """Return the first profile that allows *size*."""
        for name, limits in self._limits.items():
            if (
                size.body_bytes <= limits.bytes_max
                and size.events <= limits.events_max
                and size.expanded_bytes <= self._expansion_max * limits.bytes_max
            ):
                return name
        return None

    def _largest(self) -> str:
        return max(self._limits, key=lambda name: self._limits[name].bytes_max)
