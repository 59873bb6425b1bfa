"""The master's service for members of etcd, with real members: lost ones are made anew."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles, write_private
from confd.exaconf import Conf, Disk, Node
from confd.model.errors import ConfDError
from confd.model.secret import Vault
from confd.model.states import NodeState
from confd.services.etcd.access import secure
from confd.services.etcd.members import EtcdMembers, Members
from confd.services.etcd.minder import server_at
from confd.services.etcd.plan import DATA, PLAN_FILE, save_plan
from confd.services.etcd.process import server_of
from tests.services.etcd.test_server import Pair, answers, client_of, plan, until

MEMBERS = Members(binary="", port=2379, token="test")
NODES = (11, 12, 13)


class Trio(Pair):
    """Three data nodes; n11 is master and runs the only member at first."""

    def __init__(self, net: str, files: dict[int, NodeFiles]) -> None:
        disks = {"disk1": Disk(name="disk1")}
        nodes = [Node(id=one, name=f"n{one}", private_net=f"{net}.{one}/8", disks=disks) for one in NODES]
        conf = Conf(1, {one.key: one for one in nodes})
        self.states = dict.fromkeys(NODES, NodeState.ONLINE)
        self.conf = lambda: conf
        self.hosts = {
            one: Host(one, f"{net}.{one}", files[one].root, files[one].root / "run", None, (), self.conf)
            for one in NODES
        }
        self.service = EtcdMembers(self)  # type: ignore[arg-type]

    def address(self, node: int) -> str:
        """Return the address of a node."""
        return self.hosts[node].address

    def root(self, node: int) -> Path:
        """Return the root of a node."""
        return self.hosts[node].root

    def round(self) -> None:
        """Make one round, as the service and the nodes do: what fails is tried again."""
        for node in NODES:
            server_at(self.root(node)).look()
        try:
            self.service.work(MEMBERS)
        except (ConfDError, OSError) as error:
            print(error)

    def running(self) -> set[int]:
        """Return the nodes that run a member."""
        return {node for node in NODES if server_of(self.root(node)) is not None}


@pytest.fixture
def trio(node: NodeFiles, tmp_path: Path) -> Iterator[Trio]:
    """Give three nodes of which one runs the only member, which answers."""
    save_plan(node.root, plan(node))
    write_private(node.data_key, Vault.new_key())
    files = {11: node, 12: NodeFiles(tmp_path / "n12"), 13: NodeFiles(tmp_path / "n13")}
    for other in (files[12], files[13]):
        shutil.copytree(node.root / "etc", other.root / "etc")
        (other.root / "etc/cluster/etcd.json").unlink()
    server_at(node.root).look()
    client = client_of(node)
    until(lambda: answers(client))
    secure(client, "secret")
    yield Trio(plan(node).address.removesuffix(".11"), files)
    for one in files.values():
        server_at(one.root).leave()


def names(trio: Trio) -> list[str]:
    """Return the members that take part in decisions, as etcd lists them."""
    client = client_of(NodeFiles(trio.root(11)))
    try:
        return sorted(row.name for row in client.member_list() if not row.learner)
    finally:
        client.close()


def test_only_a_node_that_can_run_a_member_gets_one(trio: Trio) -> None:
    """One whose port is taken is passed over and says why; etcd goes on all the while."""
    client = client_of(NodeFiles(trio.root(11)))
    with socket.create_server((trio.address(12), 2379)):
        until(lambda: (trio.round(), assert_answers(client), names(trio) == ["n11", "n13"])[2])
        trio.round()
        assert f"port 2379 on {trio.address(12)}, wanted for etcd, is taken" in trio.service.trouble(12)
        assert trio.service.trouble(13) == ""
        assert trio.running() == {11, 13}
    until(lambda: (trio.round(), names(trio) == ["n11", "n12", "n13"])[1])
    assert trio.service.trouble(12) == ""


def test_a_member_that_does_not_come_up_costs_nothing(trio: Trio) -> None:
    """It counts only once it has all data: until then the one that was there decides alone."""
    client = client_of(NodeFiles(trio.root(11)))
    hindrance = trio.root(12) / "metadata"
    hindrance.touch()
    until(lambda: (trio.round(), len(client.member_list()) == 2)[1])
    assert_answers(client)
    assert names(trio) == ["n11"]
    hindrance.unlink()
    until(lambda: (trio.round(), names(trio) == ["n11", "n12", "n13"])[1])
    assert_answers(client)


@pytest.mark.parametrize("gone", [(PLAN_FILE, DATA), (DATA,), (PLAN_FILE,)])
def test_a_member_that_lost_what_it_kept_is_made_anew(trio: Trio, gone: tuple[str, ...]) -> None:
    """It never runs without its data under its old number, which promises what it has forgotten."""
    client = client_of(NodeFiles(trio.root(11)))
    until(lambda: (trio.round(), names(trio) == ["n11", "n12", "n13"])[1])
    server = server_at(trio.root(13))
    until(server.look)
    before = {row.id for row in client.member_list()}
    server.stop()
    for name in gone:
        path = trio.root(13) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not server.look()
    assert trio.running() == {11, 12}
    until(lambda: (trio.round(), trio.service.trouble(13))[1])
    assert "made anew" in trio.service.trouble(13)
    until(lambda: (trio.round(), names(trio) == ["n11", "n12", "n13"] and trio.running() == {*NODES})[1])
    assert len(before & {row.id for row in client.member_list()}) == 2
    assert trio.service.trouble(13) == ""
    assert_answers(client)


def assert_answers(client: Any) -> None:
    """Fail when etcd does not take changes within seconds."""
    client.put(b"k", b"v")
