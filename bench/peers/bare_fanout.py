"""What a fan-out costs at least: asyncio streams over TLS, one message to every node and one answer from each."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

#: What a node answers: about as much as an acknowledgement.
_ANSWER: Final = bytes(30)
_WAVE: Final = 50
_LENGTH: Final = 4


class BareFanout:
    """Connections to nodes that do nothing but answer."""

    def __init__(self, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, net: str, port: int) -> None:
        self._server_tls, self._client_tls, self._net, self._port = server_tls, client_tls, net, port
        self._servers: list[asyncio.Server] = []
        self._links: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._answering: set[asyncio.Task[None] | None] = set()

    async def grow(self, count: int) -> None:
        """Have so many nodes."""
        while len(self._links) < count:
            wave = range(len(self._links), min(count, len(self._links) + _WAVE))
            self._links += await asyncio.gather(*(self._open(position) for position in wave))

    async def send(self, message: bytes) -> float:
        """Send a message to all, wait for all answers; how long it takes, seconds."""
        began = time.perf_counter()
        framed = len(message).to_bytes(_LENGTH, "big") + message
        await asyncio.gather(*(_exchange(reader, writer, framed) for reader, writer in self._links))
        return time.perf_counter() - began

    async def close(self) -> None:
        """Be gone."""
        for _, writer in self._links:
            writer.close()
        for server in self._servers:
            server.close()

    async def _open(self, position: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = f"{self._net}.{position // 250}.{position % 250 + 1}"
        self._servers.append(await asyncio.start_server(self._answer, address, self._port, ssl=self._server_tls))
        return await asyncio.open_connection(address, self._port, ssl=self._client_tls)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nobody else keeps it: the collector would end it.
        self._answering.add(asyncio.current_task())
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
                await reader.readexactly(size)
                writer.write(_ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framed: bytes) -> None:
    writer.write(framed)
    await writer.drain()
    await reader.readexactly(len(_ANSWER))


@asynccontextmanager
async def bare_fanout(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, net: str, port: int
) -> AsyncIterator[BareFanout]:
    """Give a bare fan-out for a block; ``net`` is the first half of loopback addresses."""
    made = BareFanout(server_tls, client_tls, net, port)
    try:
        yield made
    finally:
        await made.close()
