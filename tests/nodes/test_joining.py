"""The door for joining nodes: open for everybody, and gives nothing away."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from confd import __version__
from confd.cluster.certificates import Pair, fingerprint, new_authority, new_request
from confd.cluster.identity import NodeFiles
from confd.cluster.joining.client import Way, find_way, knock
from confd.cluster.joining.messages import Hall, JoinAnswer
from confd.cluster.joining.server import Door
from confd.cluster.joining.tokens import Token, cluster_uuid
from confd.cluster.transport.nodeport import NodePort
from confd.model.errors import Internal, InvalidParameter, NodeOffline, PermissionDenied, WrongState
from tests.nodes.conftest import free_port, run

Files = Callable[..., NodeFiles]
_, REQUEST = new_request("U14")


@contextlib.asynccontextmanager
async def door_of(files: NodeFiles, admit: Any) -> AsyncIterator[int]:
    """Open a node port with a door."""
    port, opened = free_port(), NodePort({}, lambda uuid: True, None, Door(files.ca, admit))
    await opened.start("127.0.0.1", port, files.server_tls())
    try:
        yield port
    finally:
        await opened.close()


def token_for(pair: Pair, port: int, *doors: str) -> Token:
    """Make a token that leads to a port."""
    return Token(
        cluster="test", authority=fingerprint(pair.certificate_pem), node=14, uuid="U14", address="127.0.0.14",
        doors=doors or ("127.0.0.1",), port=port, confd_port=20003, expires=int(time.time()) + 60, secret=b"s" * 32,
    )  # fmt: skip


async def nobody(body: Any) -> Any:
    """Let nobody in."""
    raise PermissionDenied("not you")


def test_who_brings_a_token_gets_in(node_files: Files, authority: Pair) -> None:
    """The whole conversation: what was sent arrives, the answer comes back, silent doors are passed by."""
    seen: list[Any] = []

    async def admit(body: Any) -> Any:
        seen.append(body)
        return {"certificate": "C", "data_key": b"\0\xff", "members": ["U11"], "files": {"etc/x": b"y"}}

    async def test() -> None:
        async with door_of(node_files("a"), admit) as port:
            token = token_for(authority, port, "127.0.0.2", "127.0.0.1")
            way = await asyncio.to_thread(find_way, token)
            assert (way.address, way.hall.version) == ("127.0.0.1", __version__)
            assert abs(way.hall.now - time.time()) < 60
            answer = await asyncio.to_thread(knock, token, way, REQUEST)
            assert answer == JoinAnswer(certificate="C", data_key=b"\0\xff", members=("U11",), files={"etc/x": b"y"})
            assert seen[0] | {"clock": 0} == {
                "node": 14, "secret": token.secret.hex(), "cluster": cluster_uuid(token.authority), "clock": 0,
                "request": REQUEST.decode(), "address": "127.0.0.14", "version": __version__,
            }  # fmt: skip

    run(test())


def test_another_cluster_gets_nothing(node_files: Files, authority: Pair) -> None:
    """A token is shown only to the cluster it is for, by its authority, not by its address."""
    asked: list[Any] = []

    async def admit(body: Any) -> Any:
        asked.append(body)

    async def test() -> None:
        other = new_authority("other")
        async with door_of(node_files("x", issuer=other, trusted=other), admit) as port:
            with pytest.raises(PermissionDenied, match="belongs to another cluster than the token"):
                await asyncio.to_thread(find_way, token_for(authority, port))
        # It shows the right authority's certificate, which is public, but has no certificate of it.
        async with door_of(node_files("y", issuer=other, trusted=authority), admit) as port:
            way = await asyncio.to_thread(find_way, token_for(authority, port))
            with pytest.raises(WrongState, match="is not good"):
                await asyncio.to_thread(knock, token_for(authority, port), way, REQUEST)
        assert asked == []

    run(test())


def test_refusals_travel(node_files: Files, authority: Pair) -> None:
    """The joining side says what the cluster said; a defect says where to look."""

    async def broken(body: Any) -> Any:
        raise ZeroDivisionError

    async def test() -> None:
        for admit, error, told in ((nobody, PermissionDenied, "not you"), (broken, Internal, "log of the master")):
            async with door_of(node_files(admit.__name__), admit) as port:
                token = token_for(authority, port)
                way = await asyncio.to_thread(find_way, token)
                with pytest.raises(error, match=told):
                    await asyncio.to_thread(knock, token, way, REQUEST)

    run(test())


def test_nobody_answers(authority: Pair) -> None:
    """Every address that was tried is named; so is a door that closed meanwhile."""
    token = token_for(authority, free_port(), "127.0.0.1", "127.0.0.2")
    with pytest.raises(NodeOffline, match=r"127\.0\.0\.1:\d+ .*127\.0\.0\.2:\d+ .*let this machine through"):
        find_way(token)
    hall = Hall(authority=authority.certificate_pem.decode(), now=0.0, version="1")
    with pytest.raises(NodeOffline, match="does not answer any more"):
        knock(token, Way("127.0.0.1", hall), REQUEST)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"x" * 20_000, msgspec.json.encode({"node": "14"})])
def test_what_is_no_request_is_refused(node_files: Files, body: bytes) -> None:
    """Whatever is sent without a certificate, nothing happens."""

    async def test() -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with (
            door_of(node_files("a"), nobody) as port,
            aiohttp.ClientSession() as session,
            session.post(f"https://127.0.0.1:{port}/join", data=body, ssl=context) as answer,
        ):
            assert answer.status == 403
            assert (await answer.json())["code"] == InvalidParameter.code

    run(test())


def test_the_authority_is_all_that_is_shown(node_files: Files, tmp_path: Path) -> None:
    """What anybody may look at is the certificate of the authority, the time and the version."""

    async def test() -> None:
        files = node_files("a")
        hall = msgspec.json.decode((await Door(files.ca, nobody).look(None)).body)  # type: ignore[arg-type]
        assert hall.keys() == {"authority", "now", "version"}
        assert hall["authority"] == files.ca.read_text()

    run(test())
