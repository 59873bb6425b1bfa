"""Jobs of nodes and of the connection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from confd import __version__
from confd.cluster.leading.member import TROUBLE
from confd.exaconf import Disk, Docker, Node
from confd.model.errors import NotFound, PermissionDenied
from confd.model.states import NodeState
from confd.scheduler.registry import load
from confd.services.nodes import machine
from tests.jobs.stage import Stage
from tests.jobs.test_catalogue import CATALOGUE


def test_list_is_the_documented_dictionary(stage: Stage) -> None:
    """A node is shown with its options under their documented names; empty ones are left out."""
    disk = Disk(name="disk1", devices=("dev.1",))
    stage.put(
        Docker(),
        Node(
            id=11, name="n11", private_net="192.168.31.171/24", docker_volume="n11", uuid="C5ED",
            exposed_ports=((8888, 8899), (6583, 6594)), disks={"disk1": disk},
        ),
    )  # fmt: skip
    nodes = stage.run("node_list").result
    assert list(nodes) == ["11", "12", "13"]
    assert nodes["11"] == {
        "disks": {
            "disk1": {
                "component": "exastorage", "devices": ["dev.1"], "direct_io": True, "ephemeral": False, "name": "disk1"
            }
        },
        "docker_volume": "/exa/etc/n11", "exposed_ports": [[8888, 8899], [6583, 6594]], "id": "11", "name": "n11",
        "private_ip": "192.168.31.171", "private_net": "192.168.31.171/24", "uuid": "C5ED", "affinity": 11,
    }  # fmt: skip


def test_state_has_states_and_boot_times(stage: Stage) -> None:
    """Every node has a state; boot times are known of those that answer."""
    stage.states |= {12: NodeState.OFFLINE, 13: NodeState.SUSPENDED}
    state = stage.run("node_state").result
    booted = state.pop("booted")
    assert state == {"11": "online", "12": "offline", "13": "suspended"}
    assert list(booted) == ["11"]
    assert time.strptime(booted["11"])


def test_info_describes_the_running_node(stage: Stage) -> None:
    """A node tells its version, uptime and load."""
    info = stage.run("node_info", nid=11).result
    assert (info["id"], info["name"], info["state"]) == (11, "n11", "online")
    assert info["cored"]["version"] == __version__
    assert len(info["load"]) == 3
    hours, minutes, seconds = info["cored"]["uptime"].split(":")
    assert (int(hours) >= 0, int(minutes) < 60, int(seconds) < 60) == (True, True, True)


def test_info_of_a_node_that_is_away(stage: Stage) -> None:
    """Of an offline node only the configuration is shown."""
    stage.states[12] = NodeState.OFFLINE
    info = stage.run("node_info", nid=12).result
    assert info["state"] == "offline"
    assert not {"cored", "load", "booted"} & set(info)
    with pytest.raises(NotFound, match="no node '14'"):
        stage.run("node_info", nid=14)


def test_info_says_what_is_wrong_with_a_node(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the master from hearing a node is shown with it, whether it is online or not."""
    told = "n12 runs OpenConfD 0.0.9, the master n11 0.1.0; install the same version on all nodes"
    monkeypatch.setattr(stage, "status", lambda node, service: told if service == TROUBLE else None)
    assert stage.run("node_info", nid=12).result["info"] == told
    monkeypatch.undo()
    assert "info" not in stage.run("node_info", nid=12).result


EXAMPLES = [
    (job, dict(example))
    for job in sorted(load())
    if job.startswith(("node_", "nodes_")) and not load()[job].own
    for example in load()[job].examples
]


@pytest.mark.parametrize(("job", "example"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else None)
def test_every_documented_example(tmp_path: Path, job: str, example: dict[str, Any]) -> None:
    """Each is run as it stands, where there is what it speaks of: nodes that exist, are free, or are suspended."""
    stage = Stage(tmp_path, nodes=(21, 22) if "add" in job else (11, 12, 13))
    machine.READY.set()
    if job == "node_wait_offline":
        stage.states |= {12: NodeState.OFFLINE, 13: NodeState.OFFLINE}
    if job == "node_resume":
        # n11 is master here, so that both can be away at once.
        stage.states |= {12: NodeState.OFFLINE, 13: NodeState.OFFLINE}
        stage.run("node_suspend", nid=[12, 13], disable=example.get("enable", False))
        stage.states |= {12: NodeState.ONLINE, 13: NodeState.ONLINE}
    documented = CATALOGUE[job].get("result_example")
    result = stage.run(job, **example).result
    assert (result is None) == (documented is None), result
    if documented is not None:
        assert type(result) is type(documented)
    if job.startswith("node_wait"):
        assert result == [12, 13]


def test_rights(stage: Stage) -> None:
    """Nodes are for administrators."""
    stage.run("node_list", by="admin")
    with pytest.raises(PermissionDenied):
        stage.run("node_state", by="stella")


def test_remote_nid_is_judged_by_the_address(stage: Stage) -> None:
    """The node's socket means the accepting node, an address means its node, others are refused."""
    assert stage.run("conn_get_remote_nid").result == 11
    assert stage.run("conn_get_remote_nid", peer="127.0.0.13").result == 13
    with pytest.raises(NotFound, match=r"came from 10\.0\.0\.1, which is not the address of a node"):
        stage.run("conn_get_remote_nid", peer="10.0.0.1")
