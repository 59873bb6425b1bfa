"""The HTTP side of a node: HTTPS for clients, a unix socket for ``confd_client`` on the node itself."""

from __future__ import annotations

import base64
import os
import pwd
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from aiohttp import web

from confd.api import jsonrpc, xmlrpc
from confd.api.gateway import Gateway
from confd.api.malformed import Call, Limits, MalformedCall
from confd.api.request import Credentials, Fault, Unauthorized
from confd.model.errors import ConfDError
from confd.model.states import NOT_READY

log = structlog.get_logger("api")

_XML_PATHS: Final = frozenset({"/", "/rpc2", "/RPC2", "/rpc2/", "/RPC2/"})
_JSON_PATHS: Final = frozenset({"/jrpc", "/jrpc/"})
_XML: Final = {"Content-Type": "text/xml"}
_JSON: Final = {"Content-Type": "application/json"}
_CREDENTIAL_BYTES: Final = 8_192

Reply = web.StreamResponse


class ClusterFacts(Protocol):
    """What anybody may ask without logging in."""

    @property
    def ready(self) -> bool:
        """True once this node serves calls."""

    @property
    def is_master(self) -> bool:
        """True when this node is the master."""

    @property
    def trouble(self) -> str:
        """Why this node does not serve clients although it could by now; empty when there is no reason known."""

    def master(self) -> tuple[str, str] | None:
        """Return address and name of the master."""


class ApiServer:
    """Serves the method table and the public lookups."""

    def __init__(self, gateway: Gateway, facts: ClusterFacts, limits: Limits | None = None) -> None:
        self._gateway, self._facts, self._limits = gateway, facts, limits or Limits()
        self._server = web.Server(self._handle, access_log=None, keepalive_timeout=75.0)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.5)
        self._ready = False

    async def listen(self, address: str, port: int, tls: ssl.SSLContext) -> None:
        """Serve HTTPS on an address; may be tried again when it fails.

        :raises OSError: the port cannot be listened on.
        """
        await self._set_up()
        site = web.TCPSite(self._runner, address, port, ssl_context=tls, reuse_address=True)
        try:
            await site.start()
        except OSError:
            await site.stop()
            raise

    async def listen_on_socket(self, path: Path) -> None:
        """Serve on a unix socket that every OS user may open; the kernel tells who he is."""
        await self._set_up()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a unix socket is local and fast
        await web.UnixSite(self._runner, str(path)).start()
        path.chmod(0o666)  # noqa: ASYNC240

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _set_up(self) -> None:
        if not self._ready:
            await self._runner.setup()
            self._ready = True

    async def _handle(self, request: web.BaseRequest) -> Reply:
        path = request.path
        if request.method == "POST" and path in _XML_PATHS:
            return await self._rpc(request, self._answer_xml)
        if request.method == "POST" and path in _JSON_PATHS:
            return await self._rpc(request, self._answer_json)
        if request.method in ("GET", "HEAD"):
            return self._look_up(request, path)
        return web.Response(status=HTTPStatus.NOT_FOUND, text="POST XML-RPC to / or JSON to /jrpc")

    def _look_up(self, request: web.BaseRequest, path: str) -> Reply:
        if path == "/is_master":
            if not self._facts.ready:
                text = f"{NOT_READY}: {why}" if (why := self._facts.trouble) else NOT_READY
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=text)
            return web.Response(text="true" if self._facts.is_master else "false")
        if path == "/master":
            master = self._facts.master()
            if master is None:
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="no master is known")
            return web.Response(text=master[1] if request.query.get("info_type") == "name" else master[0])
        if path in _XML_PATHS or path in _JSON_PATHS:
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"}, text="use POST")
        return web.Response(status=HTTPStatus.NOT_FOUND, text="nothing here; POST XML-RPC to / or JSON to /jrpc")

    async def _rpc(self, request: web.BaseRequest, answer: Callable[..., Awaitable[Reply]]) -> Reply:
        too_large = self._too_large(request)
        if too_large is not None:
            return too_large
        try:
            body = await self._body(request)
            return await answer(body, _credentials(request), _peer(request))
        except MalformedCall as error:
            return _refused(error)
        except web.RequestPayloadError as error:
            return _refused(MalformedCall(f"the body is not encoded as its headers say: {error}"))
        except Unauthorized as error:
            return web.Response(
                status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": 'Basic realm="ConfD"'}, text=str(error)
            )

    def _too_large(self, request: web.BaseRequest) -> Reply | None:
        if (request.content_length or 0) <= self._limits.max_bytes:
            return None
        text = f"the body has {request.content_length} bytes, allowed are {self._limits.max_bytes}"
        response = web.Response(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text=text)
        # Reading the rest only to throw it away would be the very cost the limit is there to avoid.
        response.force_close()
        return response

    async def _body(self, request: web.BaseRequest) -> bytes:
        if request.content.is_eof():
            # Mostly the body came along with the head: no need to go through the stream.
            return request.content.read_nowait(-1)
        chunks: list[bytes] = []
        total = 0
        async for chunk in request.content.iter_any():
            total += len(chunk)
            if total > self._limits.max_bytes:
                raise MalformedCall(
                    f"the body is larger than {self._limits.max_bytes} bytes",
                    status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _answer_xml(self, body: bytes, credentials: Credentials, peer: str) -> Reply:
        try:
            call = xmlrpc.decode_call(body, self._limits)
            value = await self._call(call, credentials, peer, "xmlrpc")
            return web.Response(body=xmlrpc.encode_result(value), headers=_XML)
        except MalformedCall as error:
            if error.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise
            return web.Response(body=xmlrpc.encode_fault(error.fault, error.message), headers=_XML)
        except Fault as fault:
            return web.Response(body=xmlrpc.encode_fault(fault.code, fault.message), headers=_XML)

    async def _answer_json(self, body: bytes, credentials: Credentials, peer: str) -> Reply:
        call = jsonrpc.decode_call(body, self._limits)
        try:
            value = await self._call(call, credentials, peer, "json")
        except Fault as fault:
            error = {"fault_code": fault.code, "fault_string": fault.message}
            return web.Response(body=jsonrpc.encode(error), headers=_JSON, status=HTTPStatus.BAD_REQUEST)
        return web.Response(body=jsonrpc.encode(value), headers=_JSON)

    async def _call(self, call: Call, credentials: Credentials, peer: str, protocol: str) -> Any:
        try:
            return await self._gateway.call(call.method, call.params, credentials, peer, protocol)
        except ConfDError as error:
            raise Fault(error.code, error.message) from None


def _refused(error: MalformedCall) -> Reply:
    response = web.Response(status=error.status, text=error.message)
    if error.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        response.force_close()
    return response


def _peer(request: web.BaseRequest) -> str:
    return request.remote or "unix"


def _credentials(request: web.BaseRequest) -> Credentials:
    header = request.headers.get("Authorization", "")
    if not header:
        return _socket_credentials(request)
    kind, _, value = header.partition(" ")
    if len(value) > _CREDENTIAL_BYTES:
        raise Unauthorized("the Authorization header is too long")
    if kind.lower() == "bearer":
        return Credentials("bearer", secret=value.strip())
    if kind.lower() != "basic":
        raise Unauthorized("log in with Basic or Bearer")
    try:
        name, separator, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        raise Unauthorized("the Authorization header is not base64 of user:password") from None
    return Credentials("basic", name, password) if separator else Credentials()


def _socket_credentials(request: web.BaseRequest) -> Credentials:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None or connection.family != socket.AF_UNIX:
        return Credentials()
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", packed)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Credentials("socket", name, uid=uid, privileged=uid in (0, os.getuid()))
