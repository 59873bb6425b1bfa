"""Archive volumes keep the promises of backup targets."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from confd.services.backup.target import BackupTarget
from tests.contract.target import MIB, TargetContract
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
