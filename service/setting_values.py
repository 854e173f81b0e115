"""Parses and checks the value of a setting; the error names the allowed values."""

import ipaddress
import re
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

_SHOWN_CHARS_MAX: Final = 40
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
# Without plus signs, underscores and exponents, which Python would accept.
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
NETWORKS_FORM: Final = "empty or networks such as 10.0.0.0/8, separated by commas"
_DECIMAL: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingError(ValueError):
    """A value is not allowed. The message follows the value: "is not true or false"."""


def read(annotation: Any, text: str) -> Any:
    """
    Return the value of *text*, without the white space around it.

    Raises
    ------
    SettingError
        The value is not of the annotated type, or out of its bounds.
    """
    kind = annotation.__origin__
    meta = next(part for part in annotation.__metadata__ if isinstance(part, Meta))
    value = _parsed(kind, text.strip())
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        raise SettingError(f"is not {allowed(kind, meta)}") from None


def allowed(kind: Any, meta: Meta) -> str:
    """Return the allowed values, such as "a whole number from 1 to 512"."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return str((meta.extra or {}).get("form", "text"))
    noun = "a whole number" if kind is int else "a number"
    low = f"from {meta.ge}" if meta.ge is not None else f"above {meta.gt} and up"
    return f"{noun} {low}" if meta.le is None else f"{noun} {low} to {meta.le}"


def networks(text: str) -> tuple[Network, ...]:
    """
    Return the networks of *text*, which commas separate.

    Raises
    ------
    SettingError
        One of them is not an address or a network.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        # An address with bits after the prefix, such as 10.1.2.3/8, stands for its network.
        return tuple(ipaddress.ip_network(part, strict=False) for part in parts if part)
    except ValueError:
        raise SettingError(f"is not {NETWORKS_FORM}") from None


def shown(text: str) -> str:
    """Return *text* in quotes for a message: one line of at most 40 characters and an ellipsis."""
    return repr(text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…")


def _parsed(kind: Any, text: str) -> Any:
    """Return the value, or *text* unchanged when it is not of this kind."""
    if kind is bool:
        return _BOOLEANS.get(text.lower(), text)
    if kind is int:
        return int(text) if _WHOLE.fullmatch(text) else text
    if kind is float:
        return float(text) if _DECIMAL.fullmatch(text) else text
    return text.lower() if get_origin(kind) is Literal else text
