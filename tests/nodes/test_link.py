"""Members reach each other over links, strangers reach nobody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest

from confd.cluster.certificates import new_authority
from confd.cluster.identity import NodeFiles
from confd.cluster.transport import nodeport
from confd.cluster.transport.link import Link, Method
from confd.cluster.transport.nodeport import Connector, NodePort
from confd.model.errors import ConfDError, Internal, NodeOffline, NotFound, TimedOut
from tests.cluster import mayhem
from tests.nodes.conftest import free_port, run, until

Files = Callable[..., NodeFiles]


@contextlib.asynccontextmanager
async def port_of(
    files: NodeFiles, methods: Mapping[str, Method], member: Any = lambda uuid: True
) -> AsyncIterator[int]:
    """Open a node port."""
    port, opened = free_port(), NodePort(methods, member)
    await opened.start("127.0.0.1", port, files.server_tls())
    try:
        yield port
    finally:
        await opened.close()


@contextlib.asynccontextmanager
async def connector_of(files: NodeFiles, methods: Mapping[str, Method] | None = None) -> AsyncIterator[Connector]:
    """Make a node that calls others."""
    made = Connector(files.client_tls(), methods or {})
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """Give all links that are made in the test, of both sides."""
    made: list[Link] = []
    original = Link.__init__

    def note(self: Link, *args: Any) -> None:
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(Link, "__init__", note)
    return made


async def echo(body: Any) -> Any:
    """Return what was sent."""
    return body


async def missing(body: Any) -> Any:
    """Fail as a job would."""
    raise NotFound(f"no {body}")


async def broken(body: Any) -> Any:
    """Fail as a defect would."""
    raise ZeroDivisionError("oops")


METHODS = {"echo": echo, "missing": missing, "broken": broken}


def test_values_travel_unchanged(node_files: Files) -> None:
    """Structure, bytes and large texts, there and back."""

    async def test() -> None:
        async with port_of(node_files("a"), METHODS) as port, connector_of(node_files("b")) as b:
            for value in (None, {"a": [1, -(2**63), 1.5, "é\0"], "b": b"\xff"}, "x" * 5_000_000):
                assert await b.call("127.0.0.1", port, "echo", value) == value

    run(test())


def test_many_calls_share_a_link(node_files: Files) -> None:
    """Slow ones do not hold up fast ones, each gets its own answer."""

    async def test() -> None:
        gate = asyncio.Event()

        async def slow(body: Any) -> Any:
            await gate.wait()
            return body

        async with port_of(node_files("a"), METHODS | {"slow": slow}) as port, connector_of(node_files("b")) as b:
            waiting = [asyncio.create_task(b.call("127.0.0.1", port, "slow", n)) for n in range(100)]
            fast = await asyncio.gather(*(b.call("127.0.0.1", port, "echo", n) for n in range(100)))
            assert fast == list(range(100))
            assert not any(task.done() for task in waiting)
            gate.set()
            assert await asyncio.gather(*waiting) == list(range(100))
            assert await b.link("127.0.0.1", port) is await b.link("127.0.0.1", port)

    run(test())


def test_both_sides_call(node_files: Files, links: list[Link]) -> None:
    """Who was called can call back over the same link."""

    async def test() -> None:
        async with (
            port_of(node_files("a"), METHODS) as port,
            connector_of(node_files("b"), {"who": echo}) as b,
        ):
            await b.call("127.0.0.1", port, "echo", 1)
            served = next(link for link in links if link.peer == "b")
            assert await served.call("who", "called back") == "called back"

    run(test())


def test_errors_travel_with_their_codes(node_files: Files) -> None:
    """A ConfDError arrives as itself; a defect and an unknown method as INTERNAL."""

    async def test() -> None:
        async with port_of(node_files("a"), METHODS) as port, connector_of(node_files("b")) as b:
            with pytest.raises(NotFound, match="no volume"):
                await b.call("127.0.0.1", port, "missing", "volume")
            with pytest.raises(Internal, match="ZeroDivisionError"):
                await b.call("127.0.0.1", port, "broken", None)
            with pytest.raises(Internal, match="no method 'x'"):
                await b.call("127.0.0.1", port, "x", None)
            with pytest.raises(Internal, match="cannot be encoded"):
                await b.call("127.0.0.1", port, "echo", 2**70)
            assert await b.call("127.0.0.1", port, "echo", 1) == 1

    run(test())


def test_a_call_that_takes_too_long_times_out(node_files: Files) -> None:
    """The link stays."""

    async def test() -> None:
        async def never(body: Any) -> Any:
            await asyncio.Event().wait()

        async with port_of(node_files("a"), METHODS | {"never": never}) as port, connector_of(node_files("b")) as b:
            with pytest.raises(TimedOut, match="did not answer never"):
                await b.call("127.0.0.1", port, "never", None, 0.01)
            assert await b.call("127.0.0.1", port, "echo", 1) == 1

    run(test())


def test_a_broken_connection_ends_calls(node_files: Files) -> None:
    """Whoever waits gets NODE_OFFLINE; the next call connects again."""

    async def test() -> None:
        called = asyncio.Event()

        async def never(body: Any) -> Any:
            called.set()
            await asyncio.Event().wait()

        files = node_files("a")
        async with connector_of(node_files("b")) as b:
            port, opened = free_port(), NodePort(METHODS | {"never": never}, lambda uuid: True)
            await opened.start("127.0.0.1", port, files.server_tls())
            waiting = asyncio.create_task(b.call("127.0.0.1", port, "never", None))
            await called.wait()
            await opened.close()
            with pytest.raises(NodeOffline):
                await waiting
            with pytest.raises(NodeOffline):
                await b.call("127.0.0.1", port, "echo", 1)
            again = NodePort(METHODS, lambda uuid: True)
            await again.start("127.0.0.1", port, files.server_tls())
            assert await b.call("127.0.0.1", port, "echo", 1) == 1
            await again.close()

    run(test())


@pytest.mark.parametrize("frame", ["text", b"\xc1", b"\x90", b"\x93\x00\x01\xa1x", b"\xc0"])
def test_a_frame_that_is_not_understood_ends_the_link(node_files: Files, links: list[Link], frame: Any) -> None:
    """Nobody waits for ever on a link that nobody reads."""

    async def test() -> None:
        async def garble(body: Any) -> Any:
            link = next(link for link in links if link.peer == "b")
            await (link._socket.send_str(frame) if isinstance(frame, str) else link._socket.send_bytes(frame))
            await asyncio.Event().wait()

        async with port_of(node_files("a"), METHODS | {"garble": garble}) as port, connector_of(node_files("b")) as b:
            first = await b.link("127.0.0.1", port)
            assert await first.call("echo", 1) == 1
            with pytest.raises(NodeOffline):
                await first.call("garble", None)
            assert not first.open
            with pytest.raises(NodeOffline):
                await first.call("echo", 1)
            assert await b.call("127.0.0.1", port, "echo", 2) == 2

    run(test())


def test_nobody_listens(node_files: Files) -> None:
    """A port that is closed is a node that is offline."""

    async def test() -> None:
        async with connector_of(node_files("b")) as b:
            with pytest.raises(NodeOffline, match="no node answers"):
                await b.call("127.0.0.1", free_port(), "echo", 1)

    run(test())


def test_a_certificate_of_another_authority_is_refused(node_files: Files) -> None:
    """In both directions: neither serves the other."""

    async def test() -> None:
        other = new_authority("other")
        stranger = node_files("x", issuer=other)
        impostor = node_files("y", issuer=other)
        called: list[Any] = []

        async def method(body: Any) -> Any:
            called.append(body)

        async with port_of(node_files("a"), {"echo": method}) as port, connector_of(stranger) as x:
            with pytest.raises(
                NodeOffline, match=r"127\.0\.0\.1:\d+: it hung up .*; does it refuse the certificate of this"
            ):
                await x.call("127.0.0.1", port, "echo", 1)
        async with port_of(impostor, {"echo": method}) as port, connector_of(node_files("b")) as b:
            with pytest.raises(NodeOffline, match=r"its certificate is not good \(.*\); is it of this cluster"):
                await b.call("127.0.0.1", port, "echo", 1)
        assert called == []

    run(test())


def test_a_client_without_certificate_is_refused(node_files: Files) -> None:
    """TLS alone does not open the node port, also where every certificate would do."""

    async def test() -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with port_of(node_files("a"), METHODS) as port, aiohttp.ClientSession() as session:
            for method, path in (("GET", "/link"), ("POST", "/stream/echo"), ("GET", "/"), ("GET", "/join/../link")):
                async with session.request(method, f"https://127.0.0.1:{port}{path}", ssl=context) as answer:
                    assert answer.status == 403, path

    run(test())


def test_a_node_that_is_no_member_is_refused(node_files: Files) -> None:
    """A certificate of the cluster is not enough once the node left the configuration."""

    async def test() -> None:
        async with port_of(node_files("a"), METHODS, lambda uuid: uuid == "b") as port:
            async with connector_of(node_files("b")) as b:
                assert await b.call("127.0.0.1", port, "echo", 1) == 1
            async with connector_of(node_files("c")) as c:
                with pytest.raises(NodeOffline, match="it does not take this node for a member of its cluster"):
                    await c.call("127.0.0.1", port, "echo", 1)

    run(test())


def test_the_links_of_a_removed_node_are_cut(node_files: Files, links: list[Link]) -> None:
    """Whoever leaves the configuration loses what it has open, waiting calls end, and others stay."""

    async def test() -> None:
        members, called = {"b", "c"}, asyncio.Event()

        async def never(body: Any) -> Any:
            called.set()
            await asyncio.Event().wait()

        port, opened = free_port(), NodePort(METHODS | {"never": never}, members.__contains__)
        await opened.start("127.0.0.1", port, node_files("a").server_tls())
        async with connector_of(node_files("b")) as b, connector_of(node_files("c")) as c:
            waiting = asyncio.create_task(b.call("127.0.0.1", port, "never", None))
            kept = await c.link("127.0.0.1", port)
            assert await kept.call("echo", 1) == 1
            await called.wait()
            members.discard("b")
            opened.expel()
            with pytest.raises(NodeOffline):
                await waiting
            with pytest.raises(NodeOffline):
                await b.call("127.0.0.1", port, "echo", 1)
            assert await kept.call("echo", 2) == 2
        await opened.close()

    run(test())


def test_a_node_that_is_no_member_is_not_asked(node_files: Files) -> None:
    """Who answers with a good certificate and left the configuration is nobody; a link to it is closed on request."""

    async def test() -> None:
        async with port_of(node_files("a"), METHODS) as port:
            members = {"a"}
            b = Connector(node_files("b").client_tls(), {}, members.__contains__)
            link = await b.link("127.0.0.1", port)
            members.clear()
            await b.leave("127.0.0.1", port)
            await b.leave("127.0.0.1", port)
            with pytest.raises(NodeOffline):
                await link.call("echo", 1)
            with pytest.raises(NodeOffline, match="not a member of the cluster any more"):
                await b.call("127.0.0.1", port, "echo", 1)
            await b.close()

    run(test())


def test_closing_ends_quickly_while_calls_wait(node_files: Files) -> None:
    """Both sides can be closed in any state; whoever waits is told."""

    async def test() -> None:
        called = asyncio.Event()

        async def never(body: Any) -> Any:
            called.set()
            await asyncio.Event().wait()

        port, opened = free_port(), NodePort({"never": never}, lambda uuid: True)
        await opened.start("127.0.0.1", port, node_files("a").server_tls())
        b = Connector(node_files("b").client_tls(), {})
        waiting = asyncio.create_task(b.call("127.0.0.1", port, "never", None))
        await called.wait()
        await b.close()
        await opened.close()
        with pytest.raises(ConfDError):
            await waiting
        await until(lambda: not b._serving)

    run(test())


@pytest.mark.skipif(not mayhem._can_route(), reason="needs the right to change routes")
def test_a_call_to_a_machine_that_is_gone_without_a_word_ends(
    node_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although nothing is on its way to it, and nobody says that the connection is over."""
    monkeypatch.setattr(nodeport, "_SILENT_SECONDS", 1)
    address, reached = f"127.{random.randrange(64, 250)}.{random.randrange(1, 250)}.1", asyncio.Event()

    async def hang(body: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def test() -> None:
        files, port, opened = node_files("u1"), free_port(), NodePort({"hang": hang}, lambda uuid: True)
        await opened.start(address, port, files.server_tls())
        async with connector_of(node_files("u2")) as connector:
            call = asyncio.create_task(connector.call(address, port, "hang", {}))
            await reached.wait()
            mayhem._route("add", address)
            try:
                with pytest.raises(NodeOffline):
                    await call
            finally:
                mayhem._route("del", address)
                await opened.close()

    run(test())
