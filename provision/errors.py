"""Errors of a command, each with its exit code. The message is one sentence for the operator."""

from typing import ClassVar


class ProvisionError(Exception):
    """The command failed; the message says why, and what to do."""

    exit_code: ClassVar[int] = 1


class InvalidError(ProvisionError):
    """An argument is not valid."""

    exit_code = 2


class NotFoundError(ProvisionError):
    """The named object does not exist."""

    exit_code = 3


class TakenError(ProvisionError):
    """The object exists already; nothing was created."""

    exit_code = 4
