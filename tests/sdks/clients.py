"""The clients that are run: their packages, their drivers, and what is known of their losses."""

import enum
from typing import Final, NamedTuple

from provision.keys import Profile


class Side(enum.StrEnum):
    """Where a client runs."""

    SERVER = "server"
    BROWSER = "browser"


class Toolchain(enum.StrEnum):
    """What installs and runs the driver of a client."""

    PYTHON = "python"
    PYTHON_OLD = "python-old"
    NODE = "node"
    BROWSER = "browser"
    GO = "go"
    JAVA = "java"


class Scenario(enum.StrEnum):
    """What a client is tested with."""

    TYPES = "all types"
    BURST = "burst of 500"
    LARGE = "60 events of 20 KB"
    REFUSED = "service away for 10 s"
    DATABASE = "PostgreSQL away for 10 s"
    SWALLOWED = "answers lost"
    WRONG_KEY = "wrong key"
    BAD_EVENT = "1 bad event of 10"
    SMALL_KEY = "burst of 500 with a key of the profile default"


class SdkClient(NamedTuple):
    """One client. `driver` is an argument of the driver program of its toolchain."""

    name: str
    version: str
    side: Side
    toolchain: Toolchain
    driver: str
    page: str
    """Its page in docs/how-to/sdks."""
    profile: Profile = Profile.SEGMENT
    lacks: tuple[str, ...] = ()
    """Types for which the client has no method."""
    loses: tuple[Scenario, ...] = ()
    """Scenarios in which the client gives up events. A loss in any other scenario is a failure."""
    has_page_names: bool = True
    """Whether `page` has a name; else the name is one of the properties."""
    omits: tuple[tuple[str, str], ...] = ()
    """Members that the client does not send, each with the type."""
    is_by_host_only: bool = True
    """Whether the driver sets only the host and the key."""


def _server(name: str, version: str, toolchain: Toolchain, page: str, **more: object) -> SdkClient:
    return SdkClient(name, version, Side.SERVER, toolchain, name, page, **more)  # type: ignore[arg-type]


def _browser(name: str, version: str, driver: str, page: str, **more: object) -> SdkClient:
    return SdkClient(name, version, Side.BROWSER, Toolchain.BROWSER, driver, page, **more)  # type: ignore[arg-type]


CLIENTS: Final = (
    _server("segment-analytics-python", "2.4.0", Toolchain.PYTHON, "segment-python.md"),
    _server("analytics-python", "1.4.post1", Toolchain.PYTHON_OLD, "segment-python.md"),
    _server(
        *("rudder-sdk-python", "2.1.9", Toolchain.PYTHON, "rudder-python.md"),
        profile=Profile.RUDDERSTACK,
    ),
    _server("@segment/analytics-node", "3.1.0", Toolchain.NODE, "segment-node.md"),
    _server(
        *("@rudderstack/rudder-sdk-node", "3.0.13", Toolchain.NODE, "rudder-node.md"),
        profile=Profile.RUDDERSTACK,
        # It tries again three times: for a second, or for 6 s if an answer has Retry-After.
        loses=(Scenario.REFUSED, Scenario.DATABASE),
    ),
    _server("segmentio/analytics-go", "3.3.0", Toolchain.GO, "go.md"),
    _server(
        *("rudderlabs/analytics-go", "4.2.1", Toolchain.GO, "go.md"),
        profile=Profile.RUDDERSTACK,
    ),
    _server("segment analytics-java", "3.5.4", Toolchain.JAVA, "java.md"),
    _server(
        *("rudderstack analytics-java", "3.1.2", Toolchain.JAVA, "java.md"),
        profile=Profile.RUDDERSTACK,
    ),
    _browser("@segment/analytics-next", "1.84.3", "segment", "segment-browser.md"),
    _browser(
        *("@segment/analytics-next, inline settings", "1.84.3", "segment-inline"),
        "segment-browser.md",
    ),
    _browser(
        *("@rudderstack/analytics-js, bundled", "3.34.1", "rudder", "rudder-browser.md"),
        profile=Profile.RUDDERSTACK,
        lacks=("screen",),
        # The page keeps at most 100 events that are not sent yet.
        loses=(Scenario.BURST,),
    ),
    _browser(
        *("@rudderstack/analytics-js, legacy", "3.34.1", "rudder-legacy", "rudder-browser.md"),
        profile=Profile.RUDDERSTACK,
        lacks=("screen",),
        # The page keeps at most 100 events that are not sent yet.
        loses=(Scenario.BURST,),
    ),
    _browser(
        *("@jitsu/js", "1.11.0", "jitsu", "jitsu.md"),
        lacks=("screen", "alias"),
        has_page_names=False,
        omits=(("group", "userId"),),
        loses=(Scenario.REFUSED, Scenario.DATABASE),
    ),
)
# Those that `make test` runs; `make sdks` runs all.
SHORT: Final = frozenset(
    {
        "rudder-sdk-python",
        "@rudderstack/rudder-sdk-node",
        "@segment/analytics-next",
        "@rudderstack/analytics-js, bundled",
    }
)
