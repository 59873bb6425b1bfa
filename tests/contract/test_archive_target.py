"""Archive volumes keep the promises of backup targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from confd.services.archive.opening import open_archive
from confd.services.backup.target import BackupTarget
from tests.contract.target import MIB, TargetContract
from tests.services.archive.network import Network, network
from tests.services.archive.rig import Rig, layout

ROOM = 12 * MIB + 3 * 4096


class _Archive(TargetContract):
    ROOM: ClassVar[int | None] = ROOM
    rig: Rig

    def damage(self, target: BackupTarget) -> None:
        for path in self.rig.data_files():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)


class TestOneNode(_Archive):
    """One node, one device."""

    @pytest.fixture
    def target(self, tmp_path: Path) -> BackupTarget:
        """Give a volume."""
        self.rig = Rig(tmp_path, layout(room=ROOM))
        return self.rig.archive()


class TestTwoDevices(_Archive):
    """One node, the segment lies on two devices."""

    @pytest.fixture
    def target(self, tmp_path: Path) -> BackupTarget:
        """Give a volume."""
        self.rig = Rig(tmp_path, layout(room=ROOM), devices=2)
        return self.rig.archive()


class TestThreeNodes(_Archive):
    """Three nodes with two copies of everything."""

    @pytest.fixture
    def target(self, tmp_path: Path) -> BackupTarget:
        """Give a volume."""
        self.rig = Rig(tmp_path, layout((11, 12, 13), 2, room=ROOM))
        return self.rig.archive()


class TestNetwork(TargetContract):
    """Two copies, one of them on another node, over its node port."""

    ROOM: ClassVar[int | None] = 12 * MIB
    network: Network

    @pytest.fixture
    def target(self, tmp_path: Path) -> Iterator[BackupTarget]:
        """Give a volume, opened from one of its nodes."""
        with network(tmp_path, size=12 * MIB) as self.network:
            archive = self.network.archive()
            yield archive
            archive.close()

    def damage(self, target: BackupTarget) -> None:
        """Cut all copies."""
        for node in self.network.nodes:
            for path in self.network.segment(node).glob("parts/*/*.?"):
                path.write_bytes(path.read_bytes()[:-1])


class TestFarNetwork(TargetContract):
    """A volume of which the writing node has nothing itself."""

    ROOM: ClassVar[int | None] = 12 * MIB
    network: Network

    @pytest.fixture
    def target(self, tmp_path: Path) -> Iterator[BackupTarget]:
        """Give a volume, opened from a node that is not one of its nodes."""
        with network(tmp_path, redundancy=1, size=12 * MIB) as self.network:
            archive = open_archive(99, self.network.hosts[11].root, self.network.layout)
            yield archive
            archive.close()

    def damage(self, target: BackupTarget) -> None:
        """Lose all copies."""
        for node in self.network.nodes:
            for path in self.network.segment(node).glob("parts/*/*.?"):
                path.unlink()
