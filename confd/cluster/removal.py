"""What a node that was removed is told by those that stayed: that it was, and under which term they say so.

The journal of who was removed while it was away knows nothing of it, and nobody calls such a node any more. So it
learns it where it calls, and asks by itself as long as it hears no master.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from confd.cluster.transport.link import PATH

HEADER: Final = "OpenConfD-Removed"
_ANSWER_SECONDS: Final = 2.0


class Removal(msgspec.Struct, frozen=True):
    """The word of another node that the one that asks was removed: the UUID of who says so, the term that it knows."""

    by: str
    term: int

    def counts(self, own_term: int) -> bool:
        """Tell whether it counts for a node that knows a master of a term.

        Who says so under an older term may itself be what was left behind: a newer master never heard of the removal.
        """
        return self.term >= own_term


def told(headers: Mapping[str, str], by: str) -> Removal | None:
    """Return what an answer says of a removal, None when it says nothing."""
    text = headers.get(HEADER, "")
    return Removal(by, int(text)) if by and text.isascii() and text.isdigit() else None


def ask(address: str, port: int, tls: ssl.SSLContext) -> Removal | None:
    """Ask the node at an address whether this one was removed; None when it does not say so. Blocks.

    The answer names the UUID in the certificate of who gave it; whether that one is a member is for the caller to see.
    """
    connection = http.client.HTTPSConnection(address, port, timeout=_ANSWER_SECONDS, context=tls)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.connect()
        by = name_in(connection.sock.getpeercert())
        connection.request("GET", PATH)
        answer = connection.getresponse()
        return told(dict(answer.headers), by) if answer.status == http.HTTPStatus.FORBIDDEN else None
    return None


def name_in(certificate: Mapping[str, Any] | None) -> str:
    """Return the UUID in a certificate that was checked; empty when there is none."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return ""
