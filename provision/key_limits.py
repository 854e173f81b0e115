"""The limits of a key: as options of a command, as they are stored, and as a person reads them."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter, Token

from provision.command_line import whole_number
from provision.keys import LIMIT_COLUMNS, Profile, StoredLimits, limits_of
from service.config import MILLION, PAYLOAD_BYTES_RANGE, PAYLOAD_EVENTS_RANGE, Config
from service.model import PROFILE_LIMITS

NO_RATE_LIMIT: Final = 0
_EVENTS, _BYTES, _RATE = LIMIT_COLUMNS

Limit = int | Literal["default"]
Rate = int | Literal["none", "default"]


def _convert(*words: str) -> Callable[[Any, Sequence[Token]], Any]:
    def convert(type_: Any, tokens: Sequence[Token]) -> Any:
        text = tokens[0].value
        return text if text in words else whole_number(type_, tokens)

    return convert


def _within(least: int, most: int, words: str) -> Callable[[Any, Rate | None], None]:
    def check(_type: Any, value: Rate | None) -> None:
        if isinstance(value, int) and not least <= value <= most:
            raise ValueError(f"Must be from {least} to {most}, {words}.")

    return check


KeyProfile = Annotated[
    Profile | None,
    Parameter(
        help="Limits of a request: segment takes what Segment's SDKs send, 2500 events and 512 KB;"
        " rudderstack 2500 events and 4 MB; default: the settings of the service."
    ),
]
MaxBatchEvents = Annotated[
    Limit | None,
    Parameter(
        help="Events in a request, in place of those of the profile; default: the setting"
        " FOREBAY_PAYLOAD_EVENTS_MAX.",
        converter=_convert("default"),
        validator=_within(*PAYLOAD_EVENTS_RANGE, "or default"),
    ),
]
MaxPayloadBytes = Annotated[
    Limit | None,
    Parameter(
        help="Decoded bytes of a request, in place of those of the profile; default: the setting"
        " FOREBAY_PAYLOAD_BYTES_MAX.",
        converter=_convert("default"),
        validator=_within(*PAYLOAD_BYTES_RANGE, "or default"),
    ),
]
EventsPerSecond = Annotated[
    Rate | None,
    Parameter(
        help="Events that the key may send per second; none: no limit; default: the setting"
        " FOREBAY_KEY_EVENTS_PER_SECOND.",
        converter=_convert("none", "default"),
        validator=_within(1, MILLION, "none or default"),
    ),
]


def stored_limits(
    profile: Profile | None = None,
    max_batch_events: Limit | None = None,
    max_payload_bytes: Limit | None = None,
    events_per_second: Rate | None = None,
) -> StoredLimits:
    """Return the columns that these options set; None: the option is not given."""
    columns: StoredLimits = {} if profile is None else limits_of(profile)
    options = {_EVENTS: max_batch_events, _BYTES: max_payload_bytes, _RATE: events_per_second}
    return columns | {name: _stored(value) for name, value in options.items() if value is not None}


def described(limits: StoredLimits) -> str:
    """Return the limits of a key as a person reads them."""
    events, size_bytes, rate = (limits[name] for name in LIMIT_COLUMNS)
    per_second = "none" if rate == NO_RATE_LIMIT else _text(rate)
    return (
        f"events per request: {_text(events)}, bytes per request: {_text(size_bytes)},"
        f" events per second: {per_second}"
    )


def advice(key_id: str) -> tuple[str, str]:
    """Return two lines about the limits of a key without a profile."""
    usual = Config()
    profiles = " or ".join(
        f"--profile {name} ({limits.events_max} events, {limits.bytes_max} bytes)"
        for name, limits in PROFILE_LIMITS.items()
        if limits is not None
    )
    events_max, bytes_max = usual.payload_events_max, usual.payload_bytes_max
    meaning = (
        f"This key takes {events_max} events and {bytes_max} bytes per request, unless the settings"
        " differ. SDKs lose what is refused: by default those for Python, Go, Java and browsers"
        " send more."
    )
    return meaning, f"To take more: provision key update {key_id} {profiles}."


def _stored(value: Rate) -> int | None:
    if isinstance(value, int):
        return value
    return NO_RATE_LIMIT if value == "none" else None


def _text(value: int | None) -> str:
    return "default" if value is None else str(value)
