"""The node port's side of streams: each is answered in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import structlog
from aiohttp import web

from confd.cluster.host import Host
from confd.cluster.transport.streams import LENGTHS, Listener, find_listener, head_of, lengths_of, tune
from confd.model.errors import ConfDError, NodeOffline

log = structlog.get_logger("streams")

R = TypeVar("R")

_THREADS: Final = 64


class StreamServer:
    """Answers streams on behalf of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pool = ThreadPoolExecutor(_THREADS, "stream")
        self._open = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one stream to its end."""
        try:
            listener = find_listener(request.match_info["name"])
        except ConfDError as error:
            raise web.HTTPNotFound(text=error.message) from None
        if self._open >= _THREADS:
            raise web.HTTPServiceUnavailable(text=f"{self._host.name} serves {_THREADS} streams already")
        self._open += 1
        try:
            return await self._serve(request, listener)
        finally:
            self._open -= 1

    def close(self) -> None:
        """Start nothing more; channels break with their connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, request: web.Request, listener: Listener) -> web.StreamResponse:
        if request.transport is not None:
            tune(request.transport.get_extra_info("socket"))
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        response.force_close()
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        channel = _ServerChannel(loop, request, response)
        try:
            await loop.run_in_executor(self._pool, self._run, listener, channel)
        finally:
            channel.end()
        return response

    def _run(self, listener: Listener, channel: _ServerChannel) -> None:
        try:
            listener(self._host, channel)
        except NodeOffline:
            pass
        except Exception:
            log.exception("stream_failed")


class _ServerChannel:
    """The server's end: a thread that has the event loop read and write for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, request: web.Request, response: web.StreamResponse) -> None:
        self._loop, self._request, self._response = loop, request, response
        self._pending: Future[Any] | None = None
        self._ended = False

    def send(self, head: Any, data: bytes | bytearray | memoryview = b"") -> None:
        """Send a message."""
        self._wait(self._write(head_of(head, data), data))

    def receive(self) -> tuple[Any, bytes]:
        """Wait for a message."""
        return self._wait(self._read())

    def end(self) -> None:
        """Have the thread that waits here go on with NodeOffline."""
        self._ended = True
        if self._pending is not None:
            self._pending.cancel()

    def _wait(self, work: Coroutine[Any, Any, R]) -> R:
        if self._ended:
            work.close()
            raise NodeOffline("the stream has ended")
        self._pending = future = asyncio.run_coroutine_threadsafe(work, self._loop)
        if self._ended:
            future.cancel()
        try:
            return future.result()
        except (CancelledError, EOFError, OSError, aiohttp.ClientError) as error:
            raise NodeOffline(f"the other side of a stream is gone: {error}") from None

    async def _write(self, head: bytes, data: bytes | bytearray | memoryview) -> None:
        if len(data) < len(head):
            await self._response.write(head + data)
        else:
            await self._response.write(head)
            await self._response.write(data)

    async def _read(self) -> tuple[Any, bytes]:
        content = self._request.content
        head, data = lengths_of(await content.readexactly(LENGTHS.size))
        decoded = msgspec.msgpack.decode(await content.readexactly(head))
        return decoded, await content.readexactly(data) if data else b""
