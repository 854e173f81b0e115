"""What can go wrong in a command, each with its exit code. The message is one clear sentence."""

from typing import ClassVar, Final

DONE: Final = 0


class ProvisionError(Exception):
    """The command failed; the message says why and what to do."""

    exit_code: ClassVar[int] = 1


class InvalidError(ProvisionError):
    """What was asked for is not allowed."""

    exit_code = 2


class NotFoundError(ProvisionError):
    """What was named does not exist."""

    exit_code = 3


class TakenError(ProvisionError):
    """What was to be made is already there; nothing was made."""

    exit_code = 4
