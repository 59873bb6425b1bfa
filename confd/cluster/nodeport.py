"""The node port: where members of the cluster reach each other, and nobody else (mutual TLS)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from confd.cluster.host import Host
from confd.cluster.link import MAX_FRAME, Link, Method
from confd.cluster.stream_server import StreamServer
from confd.cluster.streams import PATH as STREAMS
from confd.model.errors import ConfDError, NodeOffline

log = structlog.get_logger("nodeport")

_PATH = "/link"
_CONNECT_SECONDS = 2.0
# So that a master with a thousand nodes gets through its handshakes before it gives any of them up.
_OPENED_AT_ONCE = 128
_UNDELIVERED_MS = 2_500
_READ_AHEAD = 1 << 20


class NodePort:
    """Listens for other members; every connection becomes a link with the given methods, or a stream.

    :param member: tells whether the node with this UUID belongs to the cluster.
    :param host: the machine that streams are answered for; none are without it.
    """

    def __init__(self, methods: Mapping[str, Method], member: Callable[[str], bool], host: Host | None = None) -> None:
        self._methods, self._member = methods, member
        self._streams = StreamServer(host) if host is not None else None
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int, tls: ssl.SSLContext) -> None:
        """Open the port."""
        app = web.Application()
        app.router.add_get(_PATH, self._accept)
        app.router.add_post(STREAMS + "{name}", self._stream)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, read_bufsize=_READ_AHEAD)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port, ssl_context=tls, reuse_address=True).start()

    async def close(self) -> None:
        """Close the port and all links."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._streams is not None:
            self._streams.close()

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        uuid = self._check_member(request)
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, compress=False)
        await socket.prepare(request)
        await Link(socket, self._methods, uuid).serve()
        return socket

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self._check_member(request)
        if self._streams is None:
            raise web.HTTPNotFound(text="this node answers no streams")
        return await self._streams.answer(request)

    def _check_member(self, request: web.Request) -> str:
        uuid = _peer_uuid(request)
        if not self._member(uuid):
            log.warning("stranger_refused", uuid=uuid, peer=request.remote)
            raise web.HTTPForbidden(text="this node is not a member of the cluster")
        return uuid


class Connector:
    """Opens links to other nodes and keeps one open link per node."""

    def __init__(self, tls: ssl.SSLContext, methods: Mapping[str, Method]) -> None:
        self._tls, self._methods = tls, methods
        self._session: aiohttp.ClientSession | None = None
        self._links: dict[str, Link] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._turns = asyncio.Semaphore(_OPENED_AT_ONCE)
        self._serving: set[asyncio.Task[None]] = set()

    async def link(self, address: str, port: int) -> Link:
        """Return the open link to a node, connecting when there is none.

        :raises NodeOffline: nobody answers there, or it is not a member.
        """
        where = f"{address}:{port}"
        known = self._links.get(where)
        if known is not None and known.open:
            return known
        async with self._opening.setdefault(where, asyncio.Lock()):
            link = self._links.get(where)
            if link is None or not link.open:
                link = self._links[where] = await self._open(where)
            return link

    async def call(self, address: str, port: int, method: str, body: Any, timeout: float | None = None) -> Any:
        """Call a method of another node."""
        link = await self.link(address, port)
        return await link.call(method, body, timeout)

    async def close(self) -> None:
        """Close all links."""
        for link in self._links.values():
            with contextlib.suppress(ConfDError, ConnectionError):
                await link.close()
        for task in self._serving:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _open(self, where: str) -> Link:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        try:
            connecting = self._session.ws_connect(
                f"https://{where}{_PATH}", ssl=self._tls, max_msg_size=MAX_FRAME, compress=0
            )
            async with self._turns, asyncio.timeout(_CONNECT_SECONDS):
                socket = await connecting
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NodeOffline(f"no node answers at {where}: {error or 'timed out'}") from None
        _forget_stale(socket)
        link = Link(socket, self._methods, where)
        task = asyncio.get_running_loop().create_task(link.serve())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return link


def _forget_stale(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Have what a cut connection could not deliver dropped: a command must not arrive after it was given up."""
    connection = socket.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, _UNDELIVERED_MS)


def _peer_uuid(request: web.Request) -> str:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return ""
