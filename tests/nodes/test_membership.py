"""A master and nodes that are added, suspended, moved and removed, over real TLS on loopback."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from confd.cluster.leading.member import JOINED_AT
from confd.cluster.operations import Command, operation
from confd.exaconf import Group, Node
from confd.model.errors import NodeOffline
from confd.model.states import NodeState
from confd.store.protocol import Kind
from confd.store.records import Finished
from tests.nodes.conftest import run, until
from tests.nodes.test_leader import Cluster, Files, cluster_of, files, note

__all__ = ["files"]


@operation("nodes.test_self")
def self_test(host: Any) -> int:
    """Answer, in or out of service."""
    return int(host.node)


def section(cluster: Cluster, node: int, **changes: Any) -> Node:
    """Return the section of a node."""
    made = Node(id=node, name=f"n{node}", private_net=f"{cluster.net}.{node}/8", uuid=f"u{node}")
    return msgspec.structs.replace(made, **changes)


async def send(cluster: Cluster, command: Command[Any]) -> Any:
    """Send a command; its reply."""
    return await asyncio.wrap_future(cluster.leader.send(("", 0), command))


def test_a_suspended_node_follows_and_takes_no_commands(files: Files) -> None:
    """It holds the journal, is not waited for, and does only what concerns itself."""

    async def test() -> None:
        async with cluster_of(files, 12, 13) as cluster:
            await cluster.state(12, NodeState.ONLINE)
            cluster.put(2, section(cluster, 12, state="suspended"))
            await cluster.state(12, NodeState.SUSPENDED)
            refused = await send(cluster, note.on(12, word="x"))
            assert refused.code == NodeOffline.code
            assert "n12 is suspended" in refused.message
            assert (await send(cluster, self_test.on(12))).result == 12
            await cluster.same(12)
            await cluster.down(12)
            cluster.put(3, Group(name="g", id=1))
            assert await asyncio.to_thread(cluster.leader.written(3).result, 20) == []
            cluster.leader.check_quorum()

    run(test())


def test_the_revision_at_which_a_daemon_joined(files: Files) -> None:
    """The first one that it heard of counts for as long as it runs, whoever is master; a new daemon begins anew."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            await until(lambda: cluster.leader.status(12, JOINED_AT) == 1)
            cluster.put(2, Group(name="g", id=1))
            await cluster.same(12)
            assert cluster.leader.status(12, JOINED_AT) == 1
            await cluster.down(12)
            await cluster.state(12, NodeState.OFFLINE)
            await cluster.up(12)
            await until(lambda: cluster.leader.status(12, JOINED_AT) == 2)

    run(test())


def test_a_node_that_is_added_is_taken_up(files: Files) -> None:
    """Suspended until it comes; nobody waits for it meanwhile."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            cluster.put(2, section(cluster, 14, uuid="u13", state="suspended"))
            changes = {"Node : 13": None}
            cluster.store.append(Kind.FINISHED, "11.2", Finished(0, "", revision=3, changes=changes)).result()
            await cluster.state(14, NodeState.SUSPENDED)
            assert await asyncio.to_thread(cluster.leader.written(3).result, 20) == []
            # It comes with the certificate that n13 has elsewhere.
            member = cluster.members[13]
            member.node = 14
            await cluster.up(13)
            await until(lambda: member.store.head() == cluster.store.head())
            await until(lambda: cluster.leader.status(14, JOINED_AT) == 3)

    run(test())


def test_a_removed_node_is_told_to_clean_up_and_then_forgotten(files: Files) -> None:
    """It is no node any more at once, and is reached until it falls silent."""

    async def test() -> None:
        async with cluster_of(files, 12, 13) as cluster:
            await cluster.state(13, NodeState.ONLINE)
            changes = {"Node : 13": None}
            cluster.store.append(Kind.FINISHED, "11.2", Finished(0, "", revision=2, changes=changes)).result()
            await until(lambda: 13 not in cluster.leader.states())
            assert await asyncio.to_thread(cluster.leader.written(2).result, 20) == []
            assert (await send(cluster, note.on(13, word="bye"))).result == "bye on n13"
            await cluster.down(13)
            await until(lambda: not cluster.leader.knows(13))
            assert cluster.leader.knows(12)
            assert (await send(cluster, note.on(13, word="x"))).code == NodeOffline.code

    run(test())


def test_a_node_is_reached_where_it_is(files: Files) -> None:
    """With a new address it goes on at the old one until it is started again, and is found at the new one then."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            await cluster.state(12, NodeState.ONLINE)
            cluster.put(2, section(cluster, 12, private_net=f"{cluster.net}.99/8"))
            assert await asyncio.to_thread(cluster.leader.written(2).result, 20) == []
            assert (await send(cluster, note.on(12, word="old"))).result == "old on n12"
            await cluster.down(12)
            member = cluster.members[12]
            await member.start(f"{cluster.net}.99")
            cluster.running.add(12)
            await until(lambda: cluster.leader.states()[12] is NodeState.ONLINE)
            await until(lambda: member.replica.written == 2)

    run(test())


@pytest.mark.parametrize("state", ["suspended", "disabled"])
def test_both_kinds_of_suspension_are_one_state(files: Files, state: str) -> None:
    """Whoever is out of service does not count, for good or until it comes back."""

    async def test() -> None:
        async with cluster_of(files, 13) as cluster:
            cluster.put(2, section(cluster, 12, state=state))
            await cluster.state(12, NodeState.SUSPENDED)
            await cluster.state(13, NodeState.ONLINE)
            cluster.leader.check_quorum()

    run(test())
