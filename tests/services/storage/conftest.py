"""A node that is a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from confd.cluster.host import Host
from confd.exaconf import Conf, Disk, Node, Volume, VolumeType
from confd.model.sizes import Bytes

MIB = 2**20


def conf(*volumes: Volume, devices: tuple[str, ...] = ("dev.1",)) -> Conf:
    """Return a configuration with one node."""
    node = Node(id=11, name="n11", disks={"disk1": Disk(name="disk1", devices=devices)})
    return Conf(1, {section.key: section for section in (node, *volumes)})


def volume(name: str, vid: int | None, nodes: tuple[int, ...] = (11,)) -> Volume:
    """Return a data volume."""
    return Volume(name=name, type=VolumeType.DATA, size=Bytes(MIB), disk="disk1", nodes=nodes, id=vid)


@pytest.fixture
def make_host(tmp_path: Path) -> Callable[[Conf], Host]:
    """Give the node with a configuration."""

    def make(known: Conf) -> Host:
        return Host(11, "127.0.0.11", tmp_path / "n11", tmp_path, None, (), lambda: known)

    (tmp_path / "n11").mkdir()
    return make


@pytest.fixture
def host(make_host: Callable[[Conf], Host]) -> Host:
    """The node with one device in its configuration."""
    return make_host(conf())
