"""Nodes that join a running cluster, and leave it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from confd.cluster.certificates import new_request
from confd.cluster.identity import NodeFiles
from confd.cluster.joining import tokens
from confd.cluster.joining.client import find_way, knock
from confd.cluster.transport.nodeport import Connector
from confd.daemon.belonging import secrets_of
from confd.model.errors import NodeOffline, PermissionDenied
from tests.cluster.documented import blocks, follow, with_places
from tests.cluster.harness import Cluster, until

NODE_PORT = 3250


def add(cluster: Cluster, last: int) -> int:
    """Add a node on an address, as written in docs/operations.md; its id."""
    adding, _, _ = blocks("Adding a node")
    block = with_places(adding, {"10.0.0.14/24": f"{cluster.net}.{last}/8"})
    node = int(follow(cluster, block, min(cluster.addresses)))
    cluster.addresses[node] = f"{cluster.net}.{last}"
    return node


def new_token(cluster: Cluster, node: int) -> str:
    """Make a token for a node, as written in docs/operations.md."""
    _, making, _ = blocks("Adding a node")
    return follow(cluster, with_places(making, {"14": str(node)})).strip()


def join(cluster: Cluster, last: int) -> int:
    """Add a node on an address and have it join, as written in docs/operations.md; its id."""
    _, _, joining = blocks("Adding a node")
    node = add(cluster, last)
    said = follow(cluster, with_places(joining, {"TOKEN": new_token(cluster, node)}))
    assert f"n{node} is a node of the cluster now" in said
    return node


@contextlib.contextmanager
def added(cluster: Cluster) -> Iterator[int]:
    """Add a node for a block, and remove it with everything at the end."""
    node = add(cluster, 14)
    try:
        yield node
    finally:
        if str(node) in cluster.run("node_list"):
            cluster.run("node_remove", nid=node, force=True)
        if list(cluster.home.glob(f"*/n{node}")):
            cluster.c4("rm", "-t", f"1.{node}")
        del cluster.addresses[node]


@contextlib.contextmanager
def another_machine(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Give the c4 of a machine that knows nothing of the play; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="c4-test-") as place:
        Path(place).chmod(0o711)
        environment = cluster.env | {"CCC_HOME": place}

        def c4(*words: str) -> str:
            command = [sys.executable, "-m", "confd.cli.c4", *words]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
            return done.stdout + done.stderr

        try:
            yield c4
        finally:
            c4("rm", "-t", "1")
            assert not list(Path(place).glob("[0-9]*_*"))


def test_adding_and_removing_a_node(plain: Cluster) -> None:
    """The procedures of docs/operations.md: it joins, is like any other, leaves, and nothing of it gets in again."""
    _, _, ((*join, token_place),) = blocks("Adding a node")
    assert (join, token_place) == (["c4", "host", "join"], "TOKEN")
    with added(plain) as node:
        token = new_token(plain, node)
        said = plain.c4(*join[1:], "-", stdin=token)
        assert f"n{node} is a node of the cluster now" in said
        plain.wait_same()
        assert plain.run("node_state", node)[str(node)] == "online"
        assert plain.run("node_list")[str(node)]["disks"]["disk1"]["devices"] == ["dev.1"]
        assert [line.split()[2:10:7] for line in plain.c4("ps").splitlines()[1:]] == [
            [str(known), "running"] for known in (11, 12, 13, node)
        ]
        # Its journal is the one of the others, and it takes calls.
        assert plain.run("job_history", node, limit=3)
        assert "is here" not in said
        again = plain.c4("host", "join", token, check=False)
        assert f"play 1 has n{node} already" in again
        files, address = NodeFiles(plain.root(node)), plain.addresses[11]

        async def leave() -> None:
            connector = Connector(files.client_tls(), {})
            link = await connector.link(address, NODE_PORT)
            assert await link.call("position", {})
            await asyncio.to_thread(plain.run, "node_remove", nid=node)
            until_cut = asyncio.get_running_loop().time() + 20
            while link.open:
                assert asyncio.get_running_loop().time() < until_cut, f"its link is cut{plain.logs()}"
                await asyncio.sleep(0.01)
            with pytest.raises(NodeOffline):
                await connector.link(address, NODE_PORT)
            await connector.close()

        asyncio.run(leave())
        until(lambda: "removed" in plain.c4("ps"), "the node is shown as removed")
        until(lambda: not any(path.exists() for path in secrets_of(files)), "its keys are gone")
        assert "runs already" in plain.c4("start", "-t", "1")
        plain.c4("rm", "-t", f"1.{node}")
        gone = plain.c4("host", "join", token, check=False)
        assert f"n{node} was removed from the cluster" in gone
        assert not list(plain.home.glob(f"*/n{node}"))


def test_tokens_that_are_not_good(plain: Cluster) -> None:
    """Each is refused with its reason, and neither the machine nor the cluster has changed."""
    with added(plain) as node:
        first = new_token(plain, node)
        good = plain.c4("host", "token", "--lifetime", "1", str(node)).strip()
        revision = plain.run("exaconf_log", limit=1)
        for token, told in (
            (first[:-10], "copy all of it"),
            ("secret", "this is no token"),
            (first, "does not know this token"),
        ):
            said = plain.c4("host", "join", token, check=False)
            assert told in said, said
        until(lambda: "expired" in plain.c4("host", "join", good, check=False), "the token expires")
        late = tokens.read(good)
        # A client that does not look at the time is refused by the cluster, too.
        with pytest.raises(PermissionDenied, match=rf"the token expired at .*make .* c4 host token {node}"):
            knock(late, find_way(late), new_request(late.uuid)[1])
        assert not list(plain.home.glob(f"*/n{node}"))
        assert plain.run("exaconf_log", limit=1) == revision
        assert plain.run("node_state")[str(node)] == "suspended"
        assert re.search(r"n12 has joined already", plain.c4("host", "token", "12", check=False))
        assert "no node" in plain.c4("host", "token", "99", check=False)


@pytest.mark.timeout(240)
def test_another_machine(plain: Cluster) -> None:
    """A machine that knows nothing of the play gets a play of its own with this node.

    Taken addresses are refused. So is a token that another machine used, whether that is in service or died on the way.
    """
    with added(plain) as node, another_machine(plain) as c4:
        dead = tokens.read(text := new_token(plain, node))
        assert knock(dead, find_way(dead), new_request(dead.uuid)[1]).certificate
        revision = plain.run("exaconf_log", limit=1)
        said = c4("host", "join", text)
        assert re.search(rf"the token was used at .* UTC; make a new one with: c4 host token {node}", said), said
        assert plain.run("exaconf_log", limit=1) == revision

        token = new_token(plain, node)
        with socket.create_server((plain.addresses[node], NODE_PORT)):
            assert f"the node port 3250 on {plain.addresses[node]} is taken by process {os.getpid()}" in c4(
                "host", "join", token
            )
        said = c4("host", "join", token)
        assert f"n{node} is a node of the cluster now, as play 1" in said
        [row] = [line.split() for line in c4("ps").splitlines()[1:]]
        assert (row[2], row[8], row[9]) == (str(node), "c", "running")
        assert row[1] in plain.c4("ps")
        listed = c4("connect", "-t", "1/cos", "--", "confd_client -j node_list")
        assert sorted(json.loads(listed)) == ["11", "12", "13", str(node)]

        c4("stop", "-t", "1")
        revision = plain.run("exaconf_log", limit=1)
        said = plain.c4("host", "join", token, check=False)
        assert f"n{node} has joined already; another machine joins as another node, see node_add" in said
        assert plain.run("exaconf_log", limit=1) == revision
        assert not list(plain.home.glob(f"*/n{node}"))
