"""The asking side of streams: blocking, for worker threads and for processes that have no daemon inside."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any, Final

import msgspec

from confd.cluster.identity import NodeFiles
from confd.cluster.transport.streams import LENGTHS, PATH, head_of, lengths_of, tune
from confd.model.errors import NodeOffline

_CONNECT_SECONDS: Final = 3.0
#: A peer that lives but does not answer: longer than a disk needs to write a large part down.
_ANSWER_SECONDS: Final = 300.0


class StreamClient:
    """Opens streams with the certificates of a node."""

    def __init__(self, files: NodeFiles) -> None:
        self._files = files
        self._tls: ssl.SSLContext | None = None

    def connect(self, address: str, port: int, name: str) -> ClientChannel:
        """Open a stream to a node.

        :raises NodeOffline: nobody answers there, or it does not let us in.
        """
        where = f"{address}:{port}"
        try:
            plain = socket.create_connection((address, port), _CONNECT_SECONDS)
        except OSError as error:
            raise NodeOffline(f"no node answers at {where}: {error}") from None
        try:
            tune(plain)
            return ClientChannel(self._context().wrap_socket(plain), where, name)
        except (OSError, http.client.HTTPException) as error:
            plain.close()
            raise NodeOffline(f"no stream to {where}: {error}") from None
        except BaseException:
            plain.close()
            raise

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._files.client_tls()
        return self._tls


class ClientChannel:
    """The asking end of a stream."""

    def __init__(self, connected: ssl.SSLSocket, where: str, name: str) -> None:
        self._socket, self._where = connected, where
        head = f"POST {PATH}{name} HTTP/1.1\r\nHost: {where}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._socket.sendall(head.encode())
        self._response = http.client.HTTPResponse(self._socket, method="POST")
        try:
            self._response.begin()
            if self._response.status != http.HTTPStatus.OK:
                text = self._response.read(1000).decode(errors="replace")
                raise NodeOffline(f"{where} refuses a stream: {self._response.status} {text}")
        except BaseException:
            self.close()
            raise
        self._socket.settimeout(_ANSWER_SECONDS)

    def send(self, head: Any, data: bytes | bytearray | memoryview = b"") -> None:
        """Send a message."""
        before = head_of(head, data)
        try:
            self._socket.sendall(b"%x\r\n%s" % (len(before) + len(data), before))
            if data:
                self._socket.sendall(data)
            self._socket.sendall(b"\r\n")
        except (OSError, ValueError) as error:
            raise NodeOffline(f"the stream to {self._where} broke: {error}") from None

    def receive(self) -> tuple[Any, bytes]:
        """Wait for a message."""
        try:
            head, data = lengths_of(self._exactly(LENGTHS.size))
            return msgspec.msgpack.decode(self._exactly(head)), self._exactly(data)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NodeOffline(f"the stream to {self._where} broke: {error}") from None

    def close(self) -> None:
        """End the conversation."""
        self._response.close()
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        data = self._response.read(size) if size else b""
        if len(data) < size:
            raise NodeOffline(f"the stream to {self._where} has ended")
        return data
