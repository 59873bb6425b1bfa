"""Streams: connections between nodes that carry bulk data, one conversation each.

Links are for short calls; what is large goes through a stream of its own on the same node port, so that it neither has
to fit into memory nor holds up anybody. A service declares what answers one::

    @stream("archive")
    def serve(host: Host, channel: Channel) -> None: ...

which runs in a thread of its own on the node that was asked, until it returns or the other side goes. The other side,
a thread or a process of its own, opens a channel with ``StreamClient`` (``stream_client.py``).

On the wire a stream is one HTTP request whose body and answer are chunked and flow at the same time. Both are a
sequence of messages: two lengths (4 bytes each, big endian), a head in msgpack, plain data.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from confd.cluster.host import Host
from confd.model.errors import Internal

PATH: Final = "/stream/"
LENGTHS: Final = struct.Struct(">II")
MOST_HEAD: Final = 64 << 20
MOST_DATA: Final = 64 << 20

#: How soon the kernel gives up a peer that is gone without a word: seconds idle, between probes, number of probes.
_KEEPALIVE: Final = (5, 3, 4)
_UNANSWERED_MS: Final = 20_000


class Channel(Protocol):
    """One end of a stream, for one thread."""

    def send(self, head: Any, data: bytes | bytearray | memoryview = b"") -> None:
        """Send a message.

        :raises NodeOffline: the other side is gone.
        """

    def receive(self) -> tuple[Any, bytes]:
        """Wait for a message: head and data.

        :raises NodeOffline: the other side is gone, or has ended.
        """


Listener = Callable[[Host, Channel], None]
_LISTENERS: dict[str, Listener] = {}


def stream(name: str) -> Callable[[Listener], Listener]:
    """Register what answers streams of a name."""

    def register(function: Listener) -> Listener:
        if name in _LISTENERS:
            raise ValueError(f"stream {name!r} is declared twice")
        _LISTENERS[name] = function
        return function

    return register


def find_listener(name: str) -> Listener:
    """Look up what answers streams of a name."""
    try:
        return _LISTENERS[name]
    except KeyError:
        raise Internal(f"this software has no stream {name!r}; run the same version on all nodes") from None


def head_of(head: Any, data: bytes | bytearray | memoryview) -> bytes:
    """Return what stands before the data of a message."""
    encoded = msgspec.msgpack.encode(head)
    return LENGTHS.pack(len(encoded), len(data)) + encoded


def lengths_of(raw: bytes) -> tuple[int, int]:
    """Return the lengths of head and data.

    :raises Internal: they cannot be meant.
    """
    head, data = LENGTHS.unpack(raw)
    if head > MOST_HEAD or data > MOST_DATA:
        raise Internal(f"a message of {head} and {data} bytes is larger than streams allow")
    return head, data


def tune(plain: socket.socket) -> None:
    """Send at once, and notice a peer that is gone without a word."""
    idle, between, count = _KEEPALIVE
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)
