"""Free disk space."""

from __future__ import annotations

from pathlib import Path

import pytest

from confd.model.errors import LimitExceeded
from confd.store.reserve import FreeSpace


def test_with_too_little_space_no_job_begins(tmp_path: Path) -> None:
    """Every try is refused, with what is free and what is needed, until there is room."""
    free = FreeSpace(tmp_path, low_water=1 << 60)
    for _ in range(2):
        with pytest.raises(LimitExceeded, match="are needed; free some space"):
            free.check()


def test_a_disk_that_fills_up_is_noticed(tmp_path: Path) -> None:
    """What was found is believed for half a second only."""
    now, disk = 0.0, tmp_path / "disk"
    disk.mkdir()
    free = FreeSpace(disk, low_water=1, clock=lambda: now)
    free.check()
    disk.rmdir()  # a disk that cannot be asked stands for one that is full
    now = 0.4
    free.check()
    now = 0.6
    with pytest.raises(FileNotFoundError):
        free.check()
