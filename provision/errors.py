"""Errors of the commands, with their exit codes. Each message is a sentence for the operator."""

from typing import ClassVar


class ProvisionError(Exception):
    """The command failed; the message gives the reason and says what to do."""

    exit_code: ClassVar[int] = 1


class InvalidError(ProvisionError):
    """An argument is not valid."""

    exit_code = 2


class NotFoundError(ProvisionError):
    """The named object does not exist."""

    exit_code = 3


class TakenError(ProvisionError):
    """The object to create exists already; nothing was changed."""

    exit_code = 4
