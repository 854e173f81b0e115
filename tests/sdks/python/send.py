"""
Sends with one of the three SDKs for Python. Driver of tests/sdks/driver.py.

It runs in an environment that contains the SDKs and nothing of Forebay.
"""

import importlib
import json
import logging
import sys
from typing import Any, Final

MODULES: Final = {
    "segment-analytics-python": "segment.analytics.client",
    "analytics-python": "analytics.client",
    "rudder-sdk-python": "rudderstack.analytics.client",
}


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def make(client: Any, call: dict[str, Any]) -> None:
    user, properties = call["userId"], call.get("properties")
    match call["method"]:
        case "track":
            client.track(user, call["event"], properties)
        case "identify":
            client.identify(user, call["traits"])
        case "page" | "screen" as method:
            getattr(client, method)(user, name=call["name"], properties=properties)
        case "group":
            client.group(user, call["groupId"], call["traits"])
        case "alias":
            client.alias(call["previousId"], user)


def main() -> None:
    logging.basicConfig()
    given = json.loads(sys.stdin.readline())
    sdk = importlib.import_module(MODULES[given["client"]])
    client = sdk.Client(
        given["key"],
        host=given["url"],
        on_error=lambda error, batch: say(said="error", reason=f"{error!r}", events=len(batch)),
    )
    say(said="ready")
    sys.stdin.readline()
    for call in given["calls"]:
        make(client, call)
    client.flush()
    client.join()
    say(said="closed")


main()
