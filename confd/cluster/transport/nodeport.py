"""The node port: where members of the cluster reach each other, and nobody else (mutual TLS).

The certificate is optional in TLS and demanded here, for every path but the door for joining nodes. Who is a member is
asked for every request and again whenever the configuration changed: the connections of a removed node are cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from confd.cluster.host import Host
from confd.cluster.joining.messages import PATH as JOIN
from confd.cluster.joining.server import Door
from confd.cluster.removal import HEADER, Removal, ask, name_in
from confd.cluster.transport.link import MAX_FRAME, Link, Method
from confd.cluster.transport.link import PATH as LINK
from confd.cluster.transport.stream_server import StreamServer
from confd.cluster.transport.streams import PATH as STREAMS
from confd.model.errors import ConfDError, NodeOffline

log = structlog.get_logger("nodeport")

Member = Callable[[str], bool]
Removed = Callable[[str], int | None]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CONNECT_SECONDS = 2.0
# So that a master with a thousand nodes gets through its handshakes before it gives any of them up.
_OPENED_AT_ONCE = 128
_UNDELIVERED_MS = 2_500
_SILENT_SECONDS, _PROBE_SECONDS = 3, 1
_READ_AHEAD = 1 << 20


class NodePort:
    """Listens for other members; every connection becomes a link with the given methods, or a stream.

    :param member: tells whether the node with this UUID belongs to the cluster.
    :param host: the machine that streams are answered for; none are without it.
    :param door: lets nodes join; none can without it.
    :param removed: tells under which term the node with this UUID is known to be removed; None when it is not.
    """

    def __init__(
        self, methods: Mapping[str, Method], member: Member, host: Host | None = None, door: Door | None = None,
        removed: Removed = lambda uuid: None,
    ) -> None:  # fmt: skip
        self._methods, self._member, self._door, self._removed = methods, member, door, removed
        self._streams = StreamServer(host) if host is not None else None
        self._present: dict[asyncio.Transport, str] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, address: str, port: int, tls: ssl.SSLContext) -> None:
        """Open the port."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(LINK, self._accept)
        app.router.add_post(STREAMS + "{name}", self._stream)
        if self._door is not None:
            app.router.add_get(JOIN, self._door.look)
            app.router.add_post(JOIN, self._door.knock)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, read_bufsize=_READ_AHEAD)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port, ssl_context=tls, reuse_address=True).start()

    async def close(self) -> None:
        """Close the port and all links."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._streams is not None:
            self._streams.close()

    def expel(self) -> None:
        """Cut the connections of nodes that are no longer members."""
        for transport, uuid in list(self._present.items()):
            if not self._member(uuid):
                log.warning("node_expelled", uuid=uuid)
                transport.abort()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == JOIN:
            return await handler(request)
        uuid, transport = uuid_of(request.transport), request.transport
        if transport is None or not uuid or not self._member(uuid):
            term = self._removed(uuid) if uuid else None
            log.warning("stranger_refused", uuid=uuid, peer=request.remote, removed=term is not None)
            # A stranger may be one of whom this node has not heard yet; a removal is something that it knows.
            headers = {} if term is None else {HEADER: str(term)}
            raise web.HTTPForbidden(text="this node is not a member of the cluster", headers=headers)
        self._present[transport] = uuid
        try:
            return await handler(request)
        finally:
            self._present.pop(transport, None)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, compress=False)
        await socket.prepare(request)
        await Link(socket, self._methods, uuid_of(request.transport)).serve()
        return socket

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._streams is None:
            raise web.HTTPNotFound(text="this node answers no streams")
        return await self._streams.answer(request)


class Connector:
    """Opens links to other nodes and keeps one open link per node.

    :param member: tells whether the node with this UUID belongs to the cluster; who has the authority's certificate
        and is none is not talked to.
    :param removed: called in the loop's thread when a member says that this node was removed; ``link`` raises then.
    """

    def __init__(
        self, tls: ssl.SSLContext, methods: Mapping[str, Method], member: Member = lambda uuid: True,
        removed: Callable[[Removal], None] = lambda removal: None,
    ) -> None:  # fmt: skip
        self._tls, self._methods, self._member, self._removed = tls, methods, member, removed
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
                link = self._links[where] = await self._open(address, port)
            return link

    async def call(self, address: str, port: int, method: str, body: Any, timeout: float | None = None) -> Any:
        """Call a method of another node."""
        link = await self.link(address, port)
        return await link.call(method, body, timeout)

    async def leave(self, address: str, port: int) -> None:
        """Close the link to a node that is no longer a member."""
        link = self._links.pop(f"{address}:{port}", None)
        if link is not None:
            with contextlib.suppress(ConfDError, ConnectionError):
                await link.close()

    async def close(self) -> None:
        """Close all links."""
        for link in self._links.values():
            with contextlib.suppress(ConfDError, ConnectionError):
                await link.close()
        for task in self._serving:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _open(self, address: str, port: int) -> Link:
        where = f"{address}:{port}"
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        try:
            connecting = self._session.ws_connect(
                f"https://{where}{LINK}", ssl=self._tls, max_msg_size=MAX_FRAME, compress=0
            )
            async with self._turns, asyncio.timeout(_CONNECT_SECONDS):
                socket = await connecting
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if _says_removed(error):
                await self._hear_removal(address, port)
            raise NodeOffline(f"no node answers at {where}: {_why(error)}") from None
        if not self._member(uuid_of(socket)):
            await socket.close()
            raise NodeOffline(f"who answers at {where} is not a member of the cluster any more")
        _forget_stale(socket)
        link = Link(socket, self._methods, where)
        task = asyncio.get_running_loop().create_task(link.serve())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return link

    async def _hear_removal(self, address: str, port: int) -> None:
        """Ask once more, seeing the certificate of who answers: only a member's word counts."""
        removal = await asyncio.to_thread(ask, address, port, self._tls)
        if removal is not None and self._member(removal.by):
            self._removed(removal)


def _forget_stale(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Have what a cut connection could not deliver dropped: a command must not arrive after it was given up.

    And have a connection broken whose other side is gone without a word (a machine without power): who waits for an
    answer would wait for ever.
    """
    connection = socket.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, _UNDELIVERED_MS)
        connection.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        connection.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, _SILENT_SECONDS)
        connection.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, _PROBE_SECONDS)


def _says_removed(error: Exception) -> bool:
    return isinstance(error, aiohttp.WSServerHandshakeError) and HEADER in (error.headers or {})


def _why(error: Exception) -> str:
    """Say why a connection could not be opened."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            told = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return f"its certificate is not good ({told}); is it of this cluster, and are the clocks right?"
        case aiohttp.WSServerHandshakeError() if _says_removed(error):
            return "it says that this node was removed from its cluster"
        case aiohttp.WSServerHandshakeError(status=HTTPStatus.FORBIDDEN):
            return "it does not take this node for a member of its cluster"
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or str(error.os_error)
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | ssl.SSLError() | aiohttp.ClientOSError():
            # With TLS 1.3 it is all that one sees of a certificate that the other side does not take.
            return f"it hung up ({error}); does it refuse the certificate of this node, and are the clocks right?"
        case _:
            return str(error) or "timed out"


def uuid_of(connection: Any) -> str:
    """Return the UUID in the certificate of the other side of a connection; empty when it showed none."""
    return name_in(connection.get_extra_info("peercert") if connection is not None else None)
