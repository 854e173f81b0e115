"""Environment variables that Kubernetes sets in a container for each Service of its namespace."""

import re
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]{1,5}")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]+|None")
_LINK: Final = re.compile(r"(?:tcp|udp|sctp)://\[?[0-9A-Fa-f.:]+\]?:[0-9]{1,5}")
_PROTOCOL: Final = re.compile(r"tcp|udp|sctp")
# End of the name, and form of the value. For a Service `forebay` Kubernetes sets FOREBAY_PORT, and
# for a Service `forebay-metrics` FOREBAY_METRICS_PORT. Only the value shows that such a variable is
# not the setting of the same name.
_FORMS: Final = (
    (re.compile(r".*_SERVICE_HOST"), _ADDRESS),
    (re.compile(r".*_SERVICE_PORT(?:_[A-Z0-9_]+)?"), _NUMBER),
    (re.compile(r".*_PORT"), _LINK),
    (re.compile(r".*_PORT_[0-9]+_(?:TCP|UDP|SCTP)"), _LINK),
    (re.compile(r".*_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO"), _PROTOCOL),
    (re.compile(r".*_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT"), _NUMBER),
    (re.compile(r".*_PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR"), _ADDRESS),
)


def is_service_variable(name: str, value: str) -> bool:
    """Whether a variable has a name and a value that Kubernetes sets for a Service."""
    return any(ends.fullmatch(name) and form.fullmatch(value) for ends, form in _FORMS)
