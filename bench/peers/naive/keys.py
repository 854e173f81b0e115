"""Whose key is it: asked once of the database, then kept in a dict."""

import base64
import binascii
import hashlib
from typing import Any, NamedTuple

from fastapi import HTTPException, Request

_FIND = "SELECT tenant_id, workspace_id FROM api_keys WHERE key_id = $1 AND secret_sha256 = $2"


class Owner(NamedTuple):
    """Whose events a key brings."""

    tenant_id: int
    workspace_id: int


class Keys:
    """Known keys by their text."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._owners: dict[str, Owner] = {}

    async def owner(self, request: Request) -> Owner:
        """Return the owner of the key that came with a request; 401 when there is none."""
        text = _key_of(request)
        if (owner := self._owners.get(text)) is None:
            row = await self._pool.fetchrow(
                _FIND, _id_of(text), hashlib.sha256(text.encode()).digest()
            )
            if row is None:
                raise HTTPException(401, "unknown API key")
            owner = self._owners[text] = Owner(*row)
        return owner


def _key_of(request: Request) -> str:
    headers = request.headers
    if key := headers.get("x-api-key") or headers.get("x-write-key"):
        return key
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value
    try:
        return base64.b64decode(value).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _id_of(text: str) -> str:
    """Return the public part: `fb1_<id>_<secret>`."""
    parts = text.split("_")
    return parts[1] if len(parts) > 1 else ""
