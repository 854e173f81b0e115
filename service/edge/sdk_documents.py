"""
What browser SDKs ask for besides storing events.

They load a document before they send the first event, and send nothing without it. Segment's SDK
also reports its own metrics.
"""

from typing import Final

from service.apikey import parse
from service.edge import replies
from service.edge.key_text import key_of_request, key_of_settings_path
from service.edge.public_url import PublicUrls
from service.edge.replies import Reply
from service.edge.request import HttpRequest
from service.pipeline.keys import KeyRing
from service.reasons import Reason, RefusedError

CLIENT_METRICS_BYTES_MAX: Final = 16 * 1024
# RudderStack's SDK requires a time, and does nothing with it.
_UPDATED_AT: Final = "2026-01-01T00:00:00.000Z"


class SdkDocuments:
    """Makes the documents that SDKs load. They contain nothing but what the request contains."""

    def __init__(self, keys: KeyRing, urls: PublicUrls) -> None:
        self._keys = keys
        self._urls = urls

    async def settings(self, request: HttpRequest) -> Reply:
        """Return the settings for Segment's SDKs: the place to send events to."""
        text = key_of_settings_path(request.scope["path"])
        await self._require_key(text)
        protocol, host = self._urls.of(request.scope, request.headers)
        segment = {"apiKey": text.decode("ascii"), "apiHost": f"{host}/v1", "protocol": protocol}
        return replies.document(
            {
                "integrations": {"Segment.io": segment},
                # Without it, the SDK sends metrics of its own to /v1/m.
                "metrics": {"sampleRate": 0},
            }
        )

    async def source_config(self, request: HttpRequest) -> Reply:
        """Return the smallest source configuration that RudderStack's SDKs accept."""
        text = key_of_request(request.headers, request.scope["query_string"]) or b""
        key_id = await self._require_key(text)
        off = {"enabled": False}
        return replies.document(
            {
                "source": {
                    "id": key_id,
                    "name": "forebay",
                    "writeKey": text.decode("ascii"),
                    "enabled": True,
                    "workspaceId": "forebay",
                    # The SDK would send them to its vendor.
                    "config": {"statsCollection": {"errors": off, "metrics": off}},
                    "connections": [],
                    "destinations": [],
                    "dataplanes": {},
                },
                "updatedAt": _UPDATED_AT,
            }
        )

    async def _require_key(self, text: bytes) -> str:
        """
        Return the id of the key with this *text*.

        A key that cannot be looked up now gets the document too: with it the SDK keeps the events
        and sends them again later, and without it the page loses them.

        Raises
        ------
        RefusedError
            `unauthorized`, as a request with events gets it.
        """
        try:
            return (self._keys.cached(text) or await self._keys.authenticate(text)).key.key_id
        except RefusedError as refusal:
            credential = parse(text.decode("latin-1"))
            if refusal.reason is Reason.UNAUTHORIZED or credential is None:
                raise
            return credential.key_id


async def client_metrics(request: HttpRequest) -> Reply:
    """Read and drop what Segment's SDK says about itself, without a key."""
    await request.body.read(CLIENT_METRICS_BYTES_MAX, None)
    return replies.CLIENT_METRICS_TAKEN
