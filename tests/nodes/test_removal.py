"""A node that was removed is told so by members, by nobody else, and a stranger is not taken for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confd.cluster.certificates import Pair, new_authority
from confd.cluster.identity import NodeFiles
from confd.cluster.removal import HEADER, Removal, ask, told
from confd.cluster.transport.nodeport import Connector, NodePort
from confd.model.errors import NodeOffline
from tests.nodes.conftest import free_port, run

Files = Callable[..., NodeFiles]
TERMS = st.integers(0, 2**31)


@given(TERMS, TERMS)
def test_of_two_that_removed_each_other_the_newer_one_stays(one: int, other: int) -> None:
    """Each hears the other one's word: who knows the higher term goes on, and never do both."""
    shut_out = [Removal("b", other).counts(one), Removal("a", one).counts(other)]
    assert any(shut_out)
    assert all(shut_out) is (one == other)


@given(st.text(max_size=8) | TERMS.map(str), st.sampled_from(["", "u1"]))
def test_answers(text: str, by: str) -> None:
    """A number from a node with a certificate is a removal; nothing else is."""
    found = told({HEADER: text}, by)
    assert found == (Removal(by, int(text)) if by and text.isascii() and text.isdigit() else None)
    assert told({}, by) is None


@contextlib.asynccontextmanager
async def survivor(files: NodeFiles, removed: dict[str, int]) -> AsyncIterator[int]:
    """Open the port of node ``a``, which knows nobody but who was removed."""
    port, opened = free_port(), NodePort({}, lambda uuid: False, removed=removed.get)
    await opened.start("127.0.0.1", port, files.server_tls())
    try:
        yield port
    finally:
        await opened.close()


async def called(files: NodeFiles, port: int, members: set[str]) -> tuple[str, list[Removal]]:
    """Call the survivor; the error, and what was heard of a removal."""
    heard: list[Removal] = []
    connector = Connector(files.client_tls(), {}, members.__contains__, heard.append)
    with pytest.raises(NodeOffline) as raised:
        await connector.call("127.0.0.1", port, "echo", None)
    await connector.close()
    return raised.value.message, heard


@pytest.mark.parametrize(("removed", "members", "heard", "text"), [
    ({"b": 7}, {"a"}, [Removal("a", 7)], "says that this node was removed"),
    # The one that answers is no member any more for the one that asks.
    ({"b": 7}, {"c"}, [], "says that this node was removed"),
    # It has only not heard of the one that asks yet.
    ({"c": 7}, {"a"}, [], "does not take this node for a member"),
])  # fmt: skip
def test_who_was_removed_is_told(
    node_files: Files, removed: dict[str, int], members: set[str], heard: list[Removal], text: str
) -> None:
    """With the term that the survivor knows; by a link and by a question."""

    async def test() -> None:
        b = node_files("b")
        async with survivor(node_files("a"), removed) as port:
            message, found = await called(b, port, members)
            assert text in message
            assert found == heard
            asked = await asyncio.to_thread(ask, "127.0.0.1", port, b.client_tls())
            assert asked == (Removal("a", removed["b"]) if "b" in removed else None)

    run(test())


def test_members_and_silence_say_nothing(node_files: Files) -> None:
    """A node that is a member, one that does not run, one of another cluster."""

    async def test() -> None:
        b, port, opened = node_files("b"), free_port(), NodePort({}, lambda uuid: True)
        tls = b.client_tls()
        assert await asyncio.to_thread(ask, "127.0.0.1", port, tls) is None
        await opened.start("127.0.0.1", port, node_files("a").server_tls())
        assert await asyncio.to_thread(ask, "127.0.0.1", port, tls) is None
        await opened.close()
        other: Pair = new_authority("other")
        async with survivor(node_files("x", other, other), {"b": 7}) as port:
            assert await asyncio.to_thread(ask, "127.0.0.1", port, tls) is None
            assert (await called(b, port, {"x"}))[1] == []

    run(test())
