"""A disk that is full or fails: the error is one of storage, other copies go on, nothing is left."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from confd.model.errors import InsufficientSpace, NodeOffline, StorageNotFound
from confd.services.archive.opening import open_archive
from tests.contract.target import content, get, put
from tests.services.archive.rig import MIB, Rig, layout


def _failing(monkeypatch: pytest.MonkeyPatch, code: int, below: Path, after: int) -> None:
    """Have writes below a directory fail after some bytes."""
    write, written = os.write, 0

    def fail(file: int, data: Any) -> int:
        nonlocal written
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(below):
            written += len(data)
            if written > after:
                raise OSError(code, os.strerror(code))
        return write(file, data)

    monkeypatch.setattr(os, "write", fail)


def test_a_full_file_system_ends_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the volume has reserved may be taken by others: said as such, and given back."""
    archive = Rig(tmp_path, layout()).archive()
    _failing(monkeypatch, errno.ENOSPC, tmp_path, 2 * MIB)
    with pytest.raises(InsufficientSpace, match="file system"), archive.create("a") as writer:
        writer.write(content(5 * MIB))
        writer.commit()
    assert (archive.files(), archive.free()) == ([], 24 * MIB)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_costs_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """With two copies the file is written to the other node."""
    rig = Rig(tmp_path, layout((11, 12), 2))
    archive = rig.archive()
    _failing(monkeypatch, code, tmp_path / "n11", 2 * MIB)
    put(archive, "a", content(9 * MIB), MIB)
    monkeypatch.undo()
    assert get(archive, "a", MIB) == content(9 * MIB)
    assert not archive.looks()[11].held


def test_the_only_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another copy the node that failed is named, with what the disk said."""
    archive = Rig(tmp_path, layout()).archive()
    _failing(monkeypatch, errno.EIO, tmp_path, 2 * MIB)
    with pytest.raises(NodeOffline, match=r"n11 failed .* Input/output error"), archive.create("a") as writer:
        writer.write(content(5 * MIB))
    assert archive.files() == []


def test_a_device_that_is_gone(tmp_path: Path) -> None:
    """A node without its device is like a node that is away."""
    rig = Rig(tmp_path, layout())
    put(rig.archive(), "a", b"x")
    archive = open_archive(11, tmp_path / "nowhere", rig.layout)
    for act in (archive.files, archive.free, archive.sweep):
        with pytest.raises(NodeOffline, match="Archive1"):
            act()
    with pytest.raises(StorageNotFound, match="no segment here"):
        archive.shelves[11].look()


def test_a_torn_index_is_no_file(tmp_path: Path) -> None:
    """An index that is not whole is not listed, wherever it was cut."""
    rig = Rig(tmp_path, layout())
    put(rig.archive(), "a", b"x" * 1000)
    (path,) = (tmp_path / "n11").glob("*/files/*")
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert rig.archive().files() == []
    path.write_bytes(whole)
    assert get(rig.archive(), "a") == b"x" * 1000
