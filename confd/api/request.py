"""A call as it travels: from the node that accepted it to the master that answers it."""

from __future__ import annotations

from typing import Any

import msgspec


class Credentials(msgspec.Struct, frozen=True):
    """What a client said about itself, as it came.

    ``basic``: name and password. ``bearer``: token in ``secret``. ``socket``: OS user of the node's unix
    socket; ``uid`` is told by the kernel, ``privileged`` that he is root or runs the daemon. ``none``.
    """

    kind: str = "none"
    name: str = ""
    secret: str = ""
    uid: int = -1
    privileged: bool = False

    def __repr__(self) -> str:
        return f"Credentials({self.kind}, {self.name!r})"


class Request(msgspec.Struct, frozen=True):
    """One call of the method table. ``node`` accepted it; ``job_id`` is made there for methods that need one."""

    method: str
    params: tuple[Any, ...]
    credentials: Credentials
    peer: str
    node: int
    protocol: str
    job_id: str = ""
    retried: bool = False

    def described(self) -> dict[str, Any]:
        """Return what the job file keeps of the request."""
        return {"method": self.method, "protocol": self.protocol, "peer": self.peer, "node": self.node}


class Fault(Exception):
    """A call that is wrong as a call; XML-RPC answers it as a fault."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Unauthorized(Exception):
    """The caller could not be authenticated: HTTP 401."""


UNKNOWN_METHOD = -32601
WRONG_ARGUMENTS = -32602
"""Codes of the specification for fault code interoperability."""
UNKNOWN_ID = 404
