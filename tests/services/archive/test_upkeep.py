"""The master's care: whatever happened to shelves, they hold what they should after it looked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confd.cluster.host import reports
from confd.exaconf import Conf
from confd.exaconf.settings import ExaStorage
from confd.model.errors import NodeOffline
from confd.model.states import NodeState
from confd.services.archive.upkeep import Health, Upkeep
from tests.contract.target import content, get, put
from tests.services.archive.network import MIB, Network, network


class View:
    """The master's view of a network: nodes whose port is open are online."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.called: list[tuple[str, int]] = []

    def conf(self) -> Conf:
        return self.network.conf

    def node_states(self) -> dict[int, NodeState]:
        up = self.network.ports
        return {node: NodeState.ONLINE if node in up else NodeState.OFFLINE for node in self.network.nodes}

    def status(self, node: int, service: str) -> Any:
        return msgspec.json.decode(msgspec.json.encode(reports(self.network.hosts[node]).get(service)))

    def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def call(self, command: Any, timeout: float = 60.0) -> Any:
        if command.node not in self.network.ports:
            raise NodeOffline(f"n{command.node} is away")
        self.called.append((command.name, command.node))
        arguments = msgspec.json.decode(msgspec.json.encode(command.arguments))
        travelled = msgspec.json.encode(command.operation.run(self.network.hosts[command.node], arguments))
        return command.operation.result(msgspec.json.decode(travelled))


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    """Give three nodes with two copies of everything."""
    with network(tmp_path, (11, 12, 13), 2) as made:
        yield made


@pytest.fixture
def view(net: Network) -> View:
    """Give the master's view."""
    return View(net)


def upkeep(view: View) -> Upkeep:
    """Return a master's care that has seen nothing yet."""
    made: Any = view
    return Upkeep(made, clock=lambda: 0.0)


def copies(net: Network) -> dict[int, int]:
    """Return the number of sealed copies by node."""
    return {node: len([p for p in net.segment(node).glob("parts/*/*") if p.name.count(".") == 1]) for node in net.nodes}


def test_a_node_that_was_away_gets_its_copies(net: Network, view: View) -> None:
    """What was written and deleted without a node is there and gone after its return."""
    archive = net.archive()
    put(archive, "old", content(2 * MIB))
    net.stop(12)
    care = upkeep(view)
    put(net.archive(), "new", content(13 * MIB, 2), MIB)
    net.archive().delete(["old"])
    care.tend()
    assert care.health("Archive1") == Health()
    net.start(12)
    care.tend()
    assert care.health("Archive1") == Health()
    net.stop(11)
    again = net.archive(13)
    assert [file.path for file in again.files()] == ["new"]
    assert get(again, "new", MIB) == content(13 * MIB, 2)
    assert net.archive(12).free() == 24 * MIB - 13 * MIB


def test_nothing_is_asked_while_nothing_changes(net: Network, view: View) -> None:
    """A volume that is right costs a look at the reports."""
    put(net.archive(), "a", content(MIB))
    care = upkeep(view)
    care.tend()
    view.called.clear()
    care.tend()
    assert view.called == []
    put(net.archive(), "b", content(MIB))
    care.tend()
    assert ("archive.look", 11) in view.called


def test_damage_that_a_reader_met_is_repaired(net: Network, view: View) -> None:
    """A bad copy is replaced by a good one; then the other one may be lost."""
    archive = net.archive()
    put(archive, "a", content(3 * MIB))
    (path,) = (p for p in net.segment(11).glob("parts/*/*") if p.name.count(".") == 1)
    raw = bytearray(path.read_bytes())
    raw[MIB] ^= 1
    path.write_bytes(raw)
    assert get(archive, "a") == content(3 * MIB)
    assert path.with_name(path.name + ".bad").exists()
    upkeep(view).tend()
    assert path.read_bytes() == content(3 * MIB)
    assert not path.with_name(path.name + ".bad").exists()


def test_repair_finds_room_on_a_full_volume(net: Network, view: View) -> None:
    """Where there is no room for two, the damaged copy makes way for the good one."""
    archive = net.archive()
    put(archive, "a", content(24 * MIB), MIB)
    assert archive.free() == 0
    for path in (p for p in net.segment(11).glob("parts/*/*") if p.name.count(".") == 1):
        path.write_bytes(b"\0" * path.stat().st_size)
    assert get(archive, "a", MIB) == content(24 * MIB)
    care = upkeep(view)
    care.tend()
    assert care.health("Archive1") == Health()
    net.stop(12)
    net.stop(13)
    mine = net.archive(11).looks()[11]
    assert sum(len(numbers) for numbers in mine.held.values()) == copies(net)[11]


def test_recovery_that_is_switched_off_leaves_the_volume_degraded(net: Network, view: View) -> None:
    """With BgRecEnabled False nothing is fetched, and the node is named; switched on, it is."""
    net.stop(13)
    put(net.archive(), "a", content(20 * MIB), MIB)
    net.start(13)
    net.conf = net.conf.with_changes({"EXAStorage": ExaStorage(bg_rec_enabled=False)}, 2)
    care = upkeep(view)
    care.tend()
    assert care.health("Archive1") == Health(behind=(13,))
    net.conf = net.conf.with_changes({"EXAStorage": ExaStorage(bg_rec_limit=1000)}, 3)
    upkeep(view).tend()
    assert len(net.archive(13).looks()[13].files) == 1
    assert min(copies(net).values()) > 0


def test_an_index_alone_is_brought_back(net: Network, view: View) -> None:
    """A lost or damaged index is written again from another node's."""
    put(net.archive(), "a", content(MIB))
    (lost,) = net.segment(11).glob("files/*")
    whole = lost.read_bytes()
    lost.unlink()
    (damaged,) = net.segment(12).glob("files/*")
    damaged.write_bytes(whole[:-3])
    upkeep(view).tend()
    assert lost.read_bytes() == damaged.read_bytes() == whole


def test_a_volume_that_is_gone_is_forgotten(net: Network, view: View) -> None:
    """Deleted volumes leave nothing with the master."""
    net.stop(13)
    put(net.archive(), "a", content(20 * MIB), MIB)
    net.start(13)
    net.conf = net.conf.with_changes({"EXAStorage": ExaStorage(bg_rec_enabled=False)}, 2)
    care = upkeep(view)
    care.tend()
    net.conf = net.conf.with_changes({net.conf.volumes["Archive1"].key: None}, 3)
    care.tend()
    assert care.health("Archive1") == Health()


def test_tombstones_go_after_an_hour(net: Network, view: View) -> None:
    """Once every node knows of a deletion nobody needs to remember it; a node that is away keeps it alive."""
    put(net.archive(), "a", content(MIB))
    net.archive().delete(["a"])
    for node in net.nodes:
        for path in net.segment(node).glob("gone/*"):
            os.utime(path, (0, 0))
    net.stop(13)
    upkeep(view).tend()
    assert all(list(net.segment(node).glob("gone/*")) for node in net.nodes)
    net.start(13)
    upkeep(view).tend()
    assert not any(list(net.segment(node).glob("gone/*")) for node in net.nodes)
    put(net.archive(), "b", content(MIB))
    net.archive().delete(["b"])
    view.called.clear()
    upkeep(view).tend()
    assert all(list(net.segment(node).glob("gone/*")) for node in net.nodes)
    assert {name for name, _ in view.called} == {"archive.look"}
