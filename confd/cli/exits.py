"""How the commands end: exit status, and the error that carries it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit status of ``confd_client`` and ``exaconf``."""

    OK = 0
    FAILED = 1
    """The job failed."""
    USAGE = 2
    """The command line is wrong; nothing was asked of the server."""
    UNREACHABLE = 3
    """No daemon answers, or it does not let the caller in."""
    INTERRUPTED = 130
    """Ctrl-C; the job goes on."""


class CommandError(Exception):
    """Ends a command with a message on stderr."""

    def __init__(self, message: str, status: Exit) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class Unreachable(CommandError):
    """No daemon answers; the message says how to get to one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.UNREACHABLE)


class ConnectionLost(Unreachable):
    """The connection broke after the call was sent: it may have been carried out."""


class LoginRefused(CommandError):
    """The daemon does not know the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.UNREACHABLE)
