"""The job that moves a cluster between stores: what it refuses, where members are made, what stays secret."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from confd.cluster.certificates import new_authority
from confd.exaconf import Node
from confd.model.errors import InvalidParameter, NodeOffline, Unsupported, WrongState
from confd.model.secret import Secret, Vault, is_sealed
from confd.model.states import NodeState
from confd.services.etcd.members import RECORD, Members
from confd.services.etcd.plan import PLAN_FILE
from confd.services.nodes.admission import AUTHORITY
from confd.services.nodes.stores import Moving
from confd.store.choice import StoreChoice, StoreKind
from tests.jobs.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Give a cluster in the embedded store that moves as it is told."""
    made, authority = Stage(tmp_path), new_authority("stage")
    sealed = made.services[Vault].seal(Secret(authority.key_pem.decode()))
    made.records[AUTHORITY] = {"certificate": authority.certificate_pem.decode(), "key": sealed}

    def move(choice: StoreChoice, sealed: str, job: str) -> None:
        made.services[Moving] = Moving(choice.kind, "mark", move)

    made.services[Moving] = Moving(StoreKind.SQLITE, "mark", move)
    return made


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kind": "sqlite", "endpoints": ["http://127.0.0.1"]}, "endpoints"),
        ({"kind": "sqlite", "port": 2379}, "port"),
        ({"kind": "etcd", "endpoints": []}, "endpoints"),
        ({"kind": "etcd", "user": "ann"}, "user"),
        ({"kind": "etcd", "check_names": False}, "check_names"),
        ({"kind": "etcd", "prefix": "/other/"}, "prefix"),
        ({"kind": "etcd", "endpoints": ["http://127.0.0.1"], "port": 2379}, "port"),
        ({"kind": "etcd", "endpoints": ["http://127.0.0.1"], "binary": "/usr/bin/etcd"}, "binary"),
    ],
)
def test_what_does_not_go_together(stage: Stage, given: dict[str, object], named: str) -> None:
    """Each parameter belongs to one kind of store; the answer names the one that does not fit."""
    with pytest.raises(InvalidParameter, match=f"^{named}: "):
        stage.run("store_move", **given)


def test_members_are_planned_on_the_first_nodes_in_service(stage: Stage) -> None:
    """As a new cluster has them: one of two; the access to them travels sealed, to every node."""
    commands = stage.plan("store_move", kind="etcd").commands
    assert [command.node for command in commands if command.name == "etcd.found_member"] == [11, 12, 13]
    given = [command for command in commands if command.name == "etcd.give_access"]
    assert [command.node for command in given] == [11, 12, 13]
    assert all(is_sealed(command.arguments["sealed"]) for command in given)
    assert "PRIVATE KEY" not in repr(commands)
    stage.states[11] = NodeState.SUSPENDED
    commands = stage.plan("store_move", kind="etcd", port=4000).commands
    assert [command.node for command in commands if command.name == "etcd.found_member"] == [12]
    (plan,) = (command.arguments["plan"] for command in commands if command.name == "etcd.found_member")
    assert plan["initial"] == {"n12": "https://127.0.0.12:4001"}


def test_a_node_that_is_away(stage: Stage) -> None:
    """It would run a member: said before anything is done."""
    stage.states[12] = NodeState.OFFLINE
    with pytest.raises(NodeOffline, match=r"^n12 would run a member of etcd and does not answer"):
        stage.run("store_move", kind="etcd")


def test_nodes_without_disks(stage: Stage) -> None:
    """Access nodes run no members."""
    stage.put(*(Node(id=node, name=f"n{node}", private_net=f"127.0.0.{node}/8") for node in stage.nodes))
    with pytest.raises(WrongState, match="no node that is in service has a disk"):
        stage.run("store_move", kind="etcd")


def test_a_program_that_is_not_there(stage: Stage) -> None:
    """Named by node; nothing is left on any of them."""
    with pytest.raises(Unsupported, match=r"^n11: /nowhere/etcd does not run"):
        stage.run("store_move", kind="etcd", binary="/nowhere/etcd")
    assert not any((stage.host(node).root / PLAN_FILE).exists() for node in stage.nodes)


def test_members_end_after_the_move_back(stage: Stage) -> None:
    """On every node, also on those that are away; the cluster keeps none any more."""
    move = stage.services[Moving].move
    stage.services[Moving] = Moving(StoreKind.ETCD, "mark", move)
    stage.records[RECORD] = msgspec.to_builtins(Members("/usr/bin/etcd", 2379, "t"))
    stage.states[13] = NodeState.OFFLINE
    ran = stage.run("store_move", kind="sqlite")
    assert [(command.name, command.node, command.arguments) for command in ran.settled] == [
        ("etcd.end_founded", node, {"token": "t"}) for node in stage.nodes
    ]
    assert RECORD not in stage.records
    with pytest.raises(WrongState, match="sqlite already"):
        stage.run("store_move", kind="sqlite")
