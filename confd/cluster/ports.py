"""Whether a port of this machine can be listened on."""

from __future__ import annotations

import socket


def hindrance(address: str, port: int) -> OSError | None:
    """Return what the system says against listening there; None when it can be done."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None
