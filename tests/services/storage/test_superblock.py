"""Superblocks and tables of allocations survive crashes and show damage."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from confd.model.errors import StorageCorrupted
from confd.services.storage.superblock import (
    Allocated,
    Allocation,
    Superblock,
    locked,
    read_allocation,
    read_superblock,
    remove_superblock,
    write_allocation,
    write_superblock,
)

BLOCK = Superblock(uuid="u", disk="disk1", sector_size=4096, sectors=100)


def test_round_trip(tmp_path: Path) -> None:
    """What was written is read again."""
    assert read_superblock(tmp_path) is None
    assert read_allocation(tmp_path) == Allocation()
    table = Allocation({3: Allocated("V1", 4096, "11.7")})
    write_superblock(tmp_path, BLOCK)
    write_allocation(tmp_path, table)
    assert read_superblock(tmp_path) == BLOCK
    assert read_allocation(tmp_path) == table
    assert (BLOCK.capacity, table.reserved) == (409600, 4096)


@pytest.mark.parametrize("damage", [b"", b"{}", b"garbage", b'{"content": {"uuid": "x"}, "checksum": "0"}'])
def test_damage_is_noticed(tmp_path: Path, damage: bytes) -> None:
    """A file that is not what was written is refused and named."""
    (tmp_path / "superblock.json").write_bytes(damage)
    with pytest.raises(StorageCorrupted, match=r"superblock\.json"):
        read_superblock(tmp_path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Content that does not fit the checksum is refused."""
    write_superblock(tmp_path, BLOCK)
    path = tmp_path / "superblock.json"
    path.write_bytes(path.read_bytes().replace(b'"sectors":100', b'"sectors":900'))
    with pytest.raises(StorageCorrupted, match="does not match"):
        read_superblock(tmp_path)


def test_a_crash_while_writing_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the rename the old table counts, whatever lies beside it."""
    old = Allocation({1: Allocated("V1", 1, "j")})
    write_allocation(tmp_path, old)

    def crash(*args: Any) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="power cut"):
            write_allocation(tmp_path, Allocation())
    assert read_allocation(tmp_path) == old
    write_allocation(tmp_path, Allocation())
    assert read_allocation(tmp_path) == Allocation()


def test_remove_leaves_an_ordinary_directory(tmp_path: Path) -> None:
    """Nothing of ours stays; removing twice is fine."""
    with locked(tmp_path):
        write_superblock(tmp_path, BLOCK)
    remove_superblock(tmp_path)
    remove_superblock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_excludes_other_threads(tmp_path: Path) -> None:
    """Whoever changes a device is alone."""
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(50):
            with locked(tmp_path):
                seen = count
                os.sched_yield()
                count = seen + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 200
