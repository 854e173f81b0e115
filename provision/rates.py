"""The limit of the events per second of a key, as an option of a command and as it is stored."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter, Token

from provision.command_line import whole_number

NO_RATE_LIMIT: Final = 0
_MAX: Final = 1_000_000

Rate = int | Literal["none", "default"]


def _convert(type_: Any, tokens: Sequence[Token]) -> Rate:
    match tokens[0].value:
        case "none" | "default" as word:
            return word
        case _:
            return whole_number(type_, tokens)


def _check(_type: Any, rate: Rate) -> None:
    if isinstance(rate, int) and not 1 <= rate <= _MAX:
        raise ValueError(f"Must be from 1 to {_MAX}, none or default.")


EventsPerSecond = Annotated[
    Rate,
    Parameter(
        help="Events that the key may send per second; none: no limit; default: the setting"
        " FOREBAY_KEY_EVENTS_PER_SECOND.",
        converter=_convert,
        validator=_check,
    ),
]


def stored_rate(rate: Rate) -> int | None:
    """Return the value of the column `events_per_second`."""
    if isinstance(rate, int):
        return rate
    return NO_RATE_LIMIT if rate == "none" else None
