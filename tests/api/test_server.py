"""The HTTP side of a node: what comes in, what goes out, and what is not even read."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import os
import socket
import ssl
import xmlrpc.client
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from confd.api.malformed import Limits
from confd.api.request import Credentials, Fault, Unauthorized
from confd.api.server import ApiServer
from confd.cluster.certificates import new_self_signed
from confd.model.errors import Internal
from tests.api.conftest import run


class FakeGateway:
    """Answers with what it was called with, unless told otherwise."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Credentials, str, str]] = []
        self.answer: Callable[[str, Any], Any] = lambda method, params: [method, list(params)]

    async def call(self, method: str, params: Any, credentials: Credentials, peer: str, protocol: str) -> Any:
        """Answer a call."""
        self.calls.append((method, params, credentials, peer, protocol))
        return self.answer(method, params)


class Facts:
    """What anybody may ask."""

    ready = True
    is_master = True
    trouble = ""
    known: tuple[str, str] | None = ("127.0.0.11", "n11")

    def master(self) -> tuple[str, str] | None:
        """Return the master."""
        return self.known


class Site:
    """A server with its port, and a client."""

    def __init__(self, path: Path, limits: Limits | None) -> None:
        self.gateway, self.facts = FakeGateway(), Facts()
        gateway: Any = self.gateway
        self.server = ApiServer(gateway, self.facts, limits)
        self.socket = path / "confd.sock"
        pair = new_self_signed("n11", ["127.0.0.1"])
        (path / "crt").write_bytes(pair.certificate_pem)
        (path / "key").write_bytes(pair.key_pem)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(path / "crt", path / "key")
        self.client_tls = ssl._create_unverified_context()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"https://127.0.0.1:{self.port}"

    async def send(self, data: bytes, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
        """POST a body."""
        async with self.session.post(self.url + path, data=data, headers=headers, ssl=self.client_tls) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """GET a path."""
        async with self.session.request(method, self.url + path, ssl=self.client_tls) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def site_of(path: Path, limits: Limits | None = None) -> AsyncIterator[Site]:
    """Give a server that listens."""
    site = Site(path, limits)
    await site.server.listen("127.0.0.1", site.port, site.tls)
    await site.server.listen_on_socket(site.socket)
    try:
        async with aiohttp.ClientSession() as site.session:
            yield site
    finally:
        await site.server.close()


def call_of(method: str, *params: Any) -> bytes:
    """Return the body of a call."""
    return xmlrpc.client.dumps(params, method, allow_none=True).encode()


def basic(text: str) -> str:
    """Return the header of a user and password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("path", ["/", "/rpc2", "/RPC2", "/RPC2/"])
def test_xmlrpc_is_answered(tmp_path: Path, path: str) -> None:
    """On all its paths, as the standard library reads it."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            status, text, headers = await site.send(call_of("m", 1, "é"), path, Authorization=basic("ann:p:w"))
            assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/xml")
            assert xmlrpc.client.loads(text)[0] == (["m", [1, "é"]],)
            method, params, credentials, peer, protocol = site.gateway.calls[0]
            assert (method, params, peer, protocol) == ("m", (1, "é"), "127.0.0.1", "xmlrpc")
            assert (credentials.kind, credentials.name, credentials.secret) == ("basic", "ann", "p:w")

    run(test())


def test_json_is_answered(tmp_path: Path) -> None:
    """With the same method table."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            status, text, _ = await site.send(b'{"method": "job_list"}', "/jrpc", Authorization="Bearer  tok ")
            assert (status, text) == (200, '["job_list",[]]')
            assert site.gateway.calls[0][2] == Credentials("bearer", secret="tok")

    run(test())


def test_faults_are_faults_and_refusals_401(tmp_path: Path) -> None:
    """In the form of each protocol; a defect is a fault, too."""

    async def test() -> None:
        async with site_of(tmp_path) as site:

            def fault(method: str, params: Any) -> Any:
                raise Fault(-32601, "no such method")

            def defect(method: str, params: Any) -> Any:
                raise Internal("a defect")

            def refuse(method: str, params: Any) -> Any:
                raise Unauthorized("who?")

            for answer, code, text in ((fault, -32601, "no such method"), (defect, 901, "a defect")):
                site.gateway.answer = answer
                with pytest.raises(xmlrpc.client.Fault) as caught:
                    xmlrpc.client.loads((await site.send(call_of("m")))[1])
                assert (caught.value.faultCode, caught.value.faultString) == (code, text)
                status, body, _ = await site.send(b'{"method": "m"}', "/jrpc")
                assert (status, str(code) in body, text in body) == (400, True, True)
            site.gateway.answer = refuse
            for body, path in ((call_of("m"), "/"), (b'{"method": "m"}', "/jrpc")):
                status, _, headers = await site.send(body, path)
                assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="ConfD"')

    run(test())


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic é",
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Digest x",
        "x",
        "Basic " + "A" * 9_000,
        "Bearer " + "A" * 9_000,
    ],
)
def test_headers_that_say_nothing_are_401(tmp_path: Path, header: str) -> None:
    """Whatever a client sends, it is an answer."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.client_tls)
            body = call_of("m")
            head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode("latin-1" if "é" in header else "utf-8") + body)
            status = (await reader.readline()).split()[1]
            writer.close()
            if header == "Basic":
                assert status in (b"200", b"401")
            else:
                assert status in (b"401", b"400")
            assert all(call[2].kind == "none" for call in site.gateway.calls)

    run(test())


def test_a_large_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """413 comes while the client still holds the body; nothing was called."""

    async def test() -> None:
        async with site_of(tmp_path, Limits(max_bytes=1_000)) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.client_tls)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
            assert b" 413 " in await reader.readline()
            writer.close()
            assert site.gateway.calls == []

    run(test())


def test_a_body_without_length_is_read_to_the_limit_only(tmp_path: Path) -> None:
    """A chunked body cannot get around it."""

    async def test() -> None:
        async with site_of(tmp_path, Limits(max_bytes=1_000)) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.client_tls)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(5):
                writer.write(b"190\r\n" + b"x" * 0x190 + b"\r\n")
            assert b" 413 " in await reader.readline()
            writer.close()
            assert site.gateway.calls == []

    run(test())


@pytest.mark.parametrize("path", ["/", "/jrpc"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_encoded_as_said_is_400(tmp_path: Path, path: str, encoding: str) -> None:
    """The text says so; a body that is, is read."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.client_tls)
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: {encoding}\r\nContent-Length: 40\r\n\r\n"
            writer.write(head.encode() + b"\x00" * 40)
            assert b" 400 " in await reader.readline()
            assert b"not encoded as its headers say" in await reader.read(2_000)
            writer.close()
            assert site.gateway.calls == []
            body = gzip.compress(call_of("m"))
            assert (await site.send(body, **{"Content-Encoding": "gzip"}))[0] == 200

    run(test())


@pytest.mark.parametrize(
    "body", [b"", b"<", b"<methodCall/>", b"\xff", b"[" * 10_000, b'<!DOCTYPE x [<!ENTITY a "b">]><methodCall/>']
)
def test_what_is_no_call_is_answered_clearly(tmp_path: Path, body: bytes) -> None:
    """A fault in XML-RPC, 400 in JSON."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            status, text, _ = await site.send(body)
            assert status == 200
            with pytest.raises(xmlrpc.client.Fault):
                xmlrpc.client.loads(text)
            status, text, _ = await site.send(body, "/jrpc")
            assert (status, bool(text)) == (400, True)
            assert site.gateway.calls == []

    run(test())


def test_connections_are_kept(tmp_path: Path) -> None:
    """Many calls, good and bad, use one."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.client_tls)
            for number in range(20):
                body = call_of("m", number) if number % 3 else b"nonsense"
                writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                assert b" 200 " in await reader.readline()
                length = 0
                while (line := await reader.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                await reader.readexactly(length)
            writer.close()

    run(test())


def test_the_state_of_the_node_needs_no_login(tmp_path: Path) -> None:
    """Load balancers ask for it."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            assert await site.get("/is_master") == (200, "true")
            site.facts.is_master = False
            assert await site.get("/is_master") == (200, "false")
            assert (await site.get("/is_master", "HEAD"))[0] == 200
            site.facts.ready = False
            assert await site.get("/is_master") == (503, "not ready yet")
            site.facts.trouble = "port 1 is taken"
            assert await site.get("/is_master") == (503, "not ready yet: port 1 is taken")
            assert await site.get("/master") == (200, "127.0.0.11")
            assert await site.get("/master?info_type=name") == (200, "n11")
            site.facts.known = None
            assert (await site.get("/master"))[0] == 503
            assert (await site.get("/"))[0] == 405
            assert (await site.get("/jrpc"))[0] == 405
            assert (await site.get("/etc/passwd"))[0] == 404
            assert (await site.send(call_of("m"), "/other"))[0] == 404
            assert (await site.get("/", "PUT"))[0] == 404
            assert site.gateway.calls == []

    run(test())


def test_the_socket_tells_who_calls(tmp_path: Path) -> None:
    """The kernel says it, not the client; a header counts where one is sent."""

    async def test() -> None:
        async with site_of(tmp_path) as site:
            assert site.socket.stat().st_mode & 0o777 == 0o666
            connector = aiohttp.UnixConnector(str(site.socket))
            async with aiohttp.ClientSession(connector=connector) as local:
                for headers in ({}, {"Authorization": basic("ann:pw")}):
                    async with local.post("http://x/", data=call_of("m"), headers=headers) as answer:
                        assert answer.status == 200
            first, second = (call[2] for call in site.gateway.calls)
            assert (first.kind, first.uid, first.privileged) == ("socket", os.getuid(), True)
            assert (second.kind, second.name) == ("basic", "ann")
            assert site.gateway.calls[0][3] == "unix"
            await site.send(call_of("m"))
            assert site.gateway.calls[-1][2] == Credentials()

    run(test())


def test_a_left_over_socket_is_replaced(tmp_path: Path) -> None:
    """A daemon that was killed leaves one."""

    async def test() -> None:
        (tmp_path / "confd.sock").touch()
        async with site_of(tmp_path) as site:
            assert site.socket.is_socket()

    run(test())


def test_closing_ends_while_calls_wait(tmp_path: Path) -> None:
    """A client that waits for a job does not keep the daemon."""

    async def test() -> None:
        called = asyncio.Event()

        async with site_of(tmp_path) as site:

            async def never(*arguments: Any) -> Any:
                called.set()
                await asyncio.Event().wait()

            site.gateway.call = never  # type: ignore[method-assign]
            waiting = asyncio.create_task(site.send(call_of("m")))
            await called.wait()
            await site.server.close()
            with pytest.raises(aiohttp.ClientError):
                await waiting

    run(test())
