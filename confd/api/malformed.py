"""A call that cannot be read, and the limits that keep reading it cheap."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

# Fault codes of the "Specification for Fault Code Interoperability", which XML-RPC libraries know.
NOT_WELL_FORMED: Final = -32700
NOT_A_CALL: Final = -32600


class MalformedCall(Exception):
    """The body is no call: a protocol error, answered as a fault and never as a result envelope.

    ``status`` is the HTTP status for protocols without faults, ``fault`` the code for XML-RPC.
    """

    def __init__(self, message: str, *, fault: int = NOT_A_CALL, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.message = message
        self.fault = fault
        self.status = status


class Limits(msgspec.Struct, frozen=True):
    """How large, deep and numerous the values of one call may be."""

    max_bytes: int = 16 * 1024 * 1024
    max_depth: int = 64
    max_values: int = 100_000
    max_method: int = 128

    def check_size(self, body: bytes) -> None:
        """Refuse a body that is too large."""
        if len(body) > self.max_bytes:
            message = f"the call has {len(body)} bytes, allowed are {self.max_bytes}"
            raise MalformedCall(message, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def check_method(self, method: str) -> None:
        """Refuse a method name that is empty or too long to be one."""
        if not method:
            raise MalformedCall("the method name is missing")
        if len(method) > self.max_method:
            raise MalformedCall(f"the method name is longer than {self.max_method} characters")

    def too_deep(self) -> MalformedCall:
        """Make the error for values nested too deep."""
        return MalformedCall(f"values are nested deeper than {self.max_depth} levels")

    def too_many(self) -> MalformedCall:
        """Make the error for too many values."""
        return MalformedCall(f"the call holds more than {self.max_values} values")


class Call(msgspec.Struct, frozen=True):
    """One decoded call: a method of the method table and its positional arguments."""

    method: str
    params: tuple[object, ...] = ()
