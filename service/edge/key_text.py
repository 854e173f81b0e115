"""The text of the API key in a request: in a header, or in the URL where SDKs send it there."""

import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from service.apikey import before_colon
from service.edge.request import Headers
from service.reasons import Reason, RefusedError

_OTHER_HEADERS: Final = (b"x-api-key", b"x-write-key")
_QUERY_KEY: Final = re.compile(rb"(?:^|&)writeKey=([^&]*)")
SETTINGS_PATH: Final = re.compile(r"/v1/projects/([^/]+)/settings/?")


def key_of_request(headers: Headers, query: bytes = b"") -> bytes | None:
    """
    Return the API key in the headers or, for paths where SDKs send it there, in the query.

    None if it is in neither.

    A header without a key is ignored: one that is empty, and an Authorization header with another
    scheme, which a proxy may have added. The first key is final, also if it is wrong: events must
    not go to the workspace of another key because of a typing error. So is a Basic header that is
    not base64 (b"").

    Raises
    ------
    RefusedError
        The query has different keys.
    """
    value = headers.get(b"authorization")
    if value is not None:
        scheme, _, rest = value.strip().partition(b" ")
        scheme = scheme.lower()
        text = b""
        if scheme == b"basic":
            try:
                text = before_colon(binascii.a2b_base64(rest.strip(), strict_mode=True))
            except binascii.Error:
                return b""
        elif scheme == b"bearer":
            text = before_colon(rest.strip())
        if text:
            return text
    for name in _OTHER_HEADERS:
        if (value := headers.get(name)) is not None and (text := before_colon(value.strip())):
            return text
    return key_of_query(query) if query else None


def key_of_query(query: bytes) -> bytes | None:
    """
    Return `writeKey` of a query string; None if it is missing or empty.

    Raises
    ------
    RefusedError
        It is given twice, with different values.
    """
    values = set(_QUERY_KEY.findall(query))
    if len(values) > 1:
        raise RefusedError(
            Reason.INVALID_REQUEST,
            "writeKey is given more than once in the URL, with different values.",
            field="writeKey",
        )
    return before_colon(unquote_to_bytes(values.pop())) or None if values else None


def key_of_settings_path(path: str) -> bytes:
    """Return the key in the path of a settings document."""
    found = SETTINGS_PATH.fullmatch(path)
    return b"" if found is None else before_colon(found[1].encode("utf-8", "surrogatepass"))
