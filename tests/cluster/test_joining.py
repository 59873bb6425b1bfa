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
from collections.abc import Iterator
from pathlib import Path

import pytest

from confd.cluster.identity import NodeFiles
from confd.cluster.nodeport import Connector
from confd.model.errors import NodeOffline
from tests.cluster.harness import Cluster, until

NODE_PORT = 3250


@contextlib.contextmanager
def added(cluster: Cluster) -> Iterator[int]:
    """Add a node for a block, and remove it with everything at the end."""
    node: int = cluster.run("node_add", priv_net=f"{cluster.net}.14/8")
    cluster.addresses[node] = f"{cluster.net}.14"
    try:
        yield node
    finally:
        if str(node) in cluster.run("node_list"):
            cluster.run("node_remove", nid=node, force=True)
        if list(cluster.home.glob(f"*/n{node}")):
            cluster.c4("rm", "-t", f"1.{node}")
        del cluster.addresses[node]


def test_adding_and_removing_a_node(plain: Cluster) -> None:
    """The procedures of docs/operations.md: it joins, is like any other, leaves, and nothing of it gets in again."""
    with added(plain) as node:
        token = plain.c4("host", "token", str(node)).strip()
        said = plain.c4("host", "join", "-", stdin=token)
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
            async with asyncio.timeout(20):
                while link.open:  # noqa: ASYNC110 - it is cut by the other side
                    await asyncio.sleep(0.01)
            with pytest.raises(NodeOffline):
                await connector.link(address, NODE_PORT)
            await connector.close()

        asyncio.run(leave())
        until(lambda: "removed" in plain.c4("ps"), "the node is shown as removed")
        assert "runs already" in plain.c4("start", "-t", "1")
        plain.c4("rm", "-t", f"1.{node}")
        gone = plain.c4("host", "join", token, check=False)
        assert f"n{node} was removed from the cluster" in gone
        assert not list(plain.home.glob(f"*/n{node}"))


def test_tokens_that_are_not_good(plain: Cluster) -> None:
    """Each is refused with its reason, and neither the machine nor the cluster has changed."""
    with added(plain) as node:
        first = plain.c4("host", "token", str(node)).strip()
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
        assert not list(plain.home.glob(f"*/n{node}"))
        assert plain.run("exaconf_log", limit=1) == revision
        assert re.search(r"n12 has joined already", plain.c4("host", "token", "12", check=False))
        assert "no node" in plain.c4("host", "token", "99", check=False)


@pytest.mark.timeout(240)
def test_another_machine(plain: Cluster) -> None:
    """A machine that knows nothing of the play gets a play of its own with this node; taken addresses are refused."""
    with added(plain) as node, tempfile.TemporaryDirectory(prefix="c4-test-") as place:
        Path(place).chmod(0o711)
        environment = plain.env | {"CCC_HOME": place}

        def c4(*words: str) -> str:
            command = [sys.executable, "-m", "confd.cli.c4", *words]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
            return done.stdout + done.stderr

        token = plain.c4("host", "token", str(node)).strip()
        with socket.socket() as taken:
            taken.bind((plain.addresses[node], NODE_PORT))
            taken.listen()
            assert f"the node port 3250 on {plain.addresses[node]} is taken by process {os.getpid()}" in c4(
                "host", "join", token
            )
        said = c4("host", "join", token)
        try:
            assert f"n{node} is a node of the cluster now, as play 1" in said
            [row] = [line.split() for line in c4("ps").splitlines()[1:]]
            assert (row[2], row[8], row[9]) == (str(node), "c", "running")
            assert row[1] in plain.c4("ps")
            listed = c4("connect", "-t", "1/cos", "--", "confd_client -j node_list")
            assert sorted(json.loads(listed)) == ["11", "12", "13", str(node)]
        finally:
            c4("rm", "-t", "1")
        assert not list(Path(place).glob("[0-9]*_*"))
