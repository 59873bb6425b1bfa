"""A link: one connection between two nodes that carries many calls at a time, in both directions.

Frames are msgpack arrays over a WebSocket: ``[CALL, number, method, body]``, ``[REPLY, number, body]``,
``[ERROR, number, code, message]``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from aiohttp import web

from confd.model.errors import ConfDError, Internal, NodeOffline, TimedOut, error_from

log = structlog.get_logger("link")

Method = Callable[[Any], Awaitable[Any]]
Methods = Mapping[str, Method]
Socket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse

PATH: Final = "/link"
"""Where links are opened at the node port."""

MAX_FRAME: Final = 64 * 1024 * 1024
_CALL, _REPLY, _ERROR = 0, 1, 2
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Link:
    """One end of a connection; ``serve`` must run for calls of either side to be answered."""

    def __init__(self, socket: Socket, methods: Methods, peer: str) -> None:
        self.peer = peer
        self._socket, self._methods = socket, methods
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken = False

    @property
    def open(self) -> bool:
        """True while calls can be sent."""
        return not self._broken and not self._socket.closed

    async def call(self, method: str, body: Any, timeout: float | None = None) -> Any:
        """Call a method of the other side.

        :raises ConfDError: what the other side raised; NodeOffline when the connection broke.
        """
        if self._broken:
            raise NodeOffline(f"the connection to {self.peer} broke")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        try:
            await self._send((_CALL, number, method, body))
            # Not wait_for: before Python 3.12 it may swallow a cancellation.
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise TimedOut(f"{self.peer} did not answer {method} within {timeout} s") from None
        finally:
            self._pending.pop(number, None)

    async def serve(self) -> None:
        """Answer calls and take replies until the connection ends."""
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                self._take(_decode(message.data))
        except (msgspec.DecodeError, LookupError, TypeError) as error:
            log.warning("frame_not_understood", peer=self.peer, error=str(error))
        finally:
            self._break()
        await self._socket.close()

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()

    def _take(self, frame: list[Any]) -> None:
        kind, number = frame[0], frame[1]
        if kind == _CALL:
            task = asyncio.get_running_loop().create_task(self._answer(number, frame[2], frame[3]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        answer = self._pending.get(number)
        if answer is None or answer.done():
            return
        if kind == _REPLY:
            answer.set_result(frame[2])
        else:
            answer.set_exception(error_from(frame[2], frame[3]))

    async def _answer(self, number: int, method: str, body: Any) -> None:
        try:
            known = self._methods.get(method)
            if known is None:
                raise Internal(f"this node has no method {method!r}; run the same version on all nodes")
            frame: tuple[Any, ...] = (_REPLY, number, await known(body))
        except ConfDError as error:
            frame = (_ERROR, number, error.code, error.message)
        except Exception as error:
            log.exception("call_failed", method=method, peer=self.peer)
            frame = (_ERROR, number, Internal.code, f"{method} failed: {type(error).__name__}: {error}")
        try:
            await self._send(frame)
        except ConfDError:
            log.info("reply_lost", method=method, peer=self.peer)

    async def _send(self, frame: tuple[Any, ...]) -> None:
        try:
            await self._socket.send_bytes(_encode(frame))
        except (OverflowError, TypeError, UnicodeError) as error:
            raise Internal(f"a message to {self.peer} cannot be encoded: {error}") from None
        except (ConnectionError, RuntimeError) as error:
            raise NodeOffline(f"the connection to {self.peer} is broken: {error}") from None

    def _break(self) -> None:
        self._broken = True
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(NodeOffline(f"the connection to {self.peer} broke"))
        self._pending.clear()
