"""The promises of the BackupTarget protocol; every implementation passes them.

A subclass gives ``target``: a place for backups with room for exactly ``ROOM`` bytes, and ``damage``: spoil all copies
of the only file there is.
"""

from __future__ import annotations

import hashlib
import random
import time
from abc import ABC, abstractmethod
from typing import ClassVar

import pytest

from confd.model.errors import InsufficientSpace, InvalidParameter, StorageCorrupted, StorageDuplicate, StorageNotFound
from confd.services.backup.target import BackupTarget, File

MIB = 1 << 20


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that look like a compressed backup."""
    return random.Random(seed).randbytes(size)


def put(target: BackupTarget, path: str, data: bytes, step: int = 100_000) -> File:
    """Write a file in pieces."""
    with target.create(path) as writer:
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
        return writer.commit(hashlib.sha256(data).hexdigest())


def get(target: BackupTarget, path: str, step: int = 70_000) -> bytes:
    """Read a file in pieces."""
    reader, pieces = target.open(path), []
    try:
        while data := reader.read(step):
            assert len(data) <= step
            pieces.append(data)
    finally:
        reader.close()
    return b"".join(pieces)


class TargetContract(ABC):
    """What every place for backups promises."""

    ROOM: ClassVar[int | None] = None

    @abstractmethod
    def damage(self, target: BackupTarget) -> None:
        """Spoil all copies of the only file."""

    @pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3 * MIB + 12_345])
    def test_files_come_back_as_written(self, target: BackupTarget, size: int) -> None:
        """What was written is read, whatever the sizes of the steps."""
        data = content(size)
        made = put(target, "DB1/id_1/level_0/data", data)
        assert (made.path, made.size, made.sha256) == ("DB1/id_1/level_0/data", size, hashlib.sha256(data).hexdigest())
        assert made.used >= size
        assert abs(made.modified - time.time()) < 60
        assert target.files() == [made]
        assert get(target, "DB1/id_1/level_0/data") == data

    def test_pieces_of_any_size_can_be_written(self, target: BackupTarget) -> None:
        """Tiny and huge pieces, views among them, make one file."""
        data, dice, at = content(5 * MIB), random.Random(7), 0
        with target.create("f") as writer:
            while at < len(data):
                step = dice.choice([0, 1, 10, 65_536, 300_000, 2 * MIB])
                writer.write(data[at : at + step])
                at += step
            writer.commit()
        assert get(target, "f", 4 * MIB) == data

    def test_a_file_exists_from_its_commit_on(self, target: BackupTarget) -> None:
        """Before the commit nothing of a file is listed or can be opened."""
        with target.create("a") as writer:
            writer.write(content(MIB))
            assert target.files() == []
            with pytest.raises(StorageNotFound, match="a"):
                target.open("a")
            writer.commit()
            assert [file.path for file in target.files()] == ["a"]

    def test_an_aborted_file_leaves_nothing(self, target: BackupTarget) -> None:
        """After an abort, asked for or by an error in the block, all space is there again."""
        free = target.free()
        writer = target.create("a")
        writer.write(content(2 * MIB))
        writer.abort()
        writer.abort()
        with pytest.raises(ZeroDivisionError), target.create("a") as writer:
            writer.write(content(2 * MIB))
            _ = 1 / 0
        assert (target.files(), target.free()) == ([], free)
        put(target, "a", b"x")

    def test_nothing_is_overwritten(self, target: BackupTarget) -> None:
        """A path that is taken is refused, and the file stays as it is."""
        put(target, "a", b"one")
        with pytest.raises(StorageDuplicate, match="a"):
            target.create("a")
        assert get(target, "a") == b"one"

    def test_files_are_listed_by_prefix_and_sorted(self, target: BackupTarget) -> None:
        """The list holds what begins with the prefix, by path."""
        for path in ("b/2", "a/1", "b/1", "b2"):
            put(target, path, path.encode())
        assert [file.path for file in target.files()] == ["a/1", "b/1", "b/2", "b2"]
        assert [file.path for file in target.files("b/")] == ["b/1", "b/2"]

    def test_deleted_files_are_gone_and_their_space_is_back(self, target: BackupTarget) -> None:
        """Deleting gives the space back; what is gone already is fine; the path can be used again."""
        free = target.free()
        put(target, "a", content(2 * MIB))
        put(target, "b", b"stays")
        target.delete(["a", "nothing"])
        target.delete(["a"])
        assert [file.path for file in target.files()] == ["b"]
        with pytest.raises(StorageNotFound, match="a"):
            target.open("a")
        target.delete(["b"])
        assert target.free() == free
        put(target, "a", b"new")
        assert get(target, "a") == b"new"

    def test_free_space_is_true(self, target: BackupTarget) -> None:
        """What is free goes down by what is written."""
        if self.ROOM is None:
            pytest.skip("has no limit")
        assert target.free() == self.ROOM
        put(target, "a", content(MIB + 1))
        assert target.free() == self.ROOM - MIB - 1

    def test_a_full_volume_says_so(self, target: BackupTarget) -> None:
        """The last free byte can be written, the next one is refused; then the writer is aborted, and all is as before."""
        if self.ROOM is None:
            pytest.skip("has no limit")
        data = content(self.ROOM)
        with pytest.raises(InsufficientSpace), target.create("a") as writer:
            writer.write(data)
            writer.write(b"x")
        assert (target.files(), target.free()) == ([], self.ROOM)
        put(target, "a", data, MIB)
        assert target.free() == 0
        with pytest.raises(InsufficientSpace):
            put(target, "b", b"x")
        assert get(target, "a", MIB) == data

    def test_damage_is_never_handed_out(self, target: BackupTarget) -> None:
        """Without a good copy reading fails; nothing else is given instead."""
        put(target, "a", content(2 * MIB))
        self.damage(target)
        with pytest.raises(StorageCorrupted, match="a"):
            get(target, "a")

    def test_sweeping_harms_nobody(self, target: BackupTarget) -> None:
        """Neither files nor writers that live are touched."""
        put(target, "a", content(MIB))
        with target.create("b") as writer:
            writer.write(content(MIB, 2))
            target.sweep()
            writer.write(content(MIB, 3))
            writer.commit()
        target.sweep()
        assert get(target, "a") == content(MIB)
        assert get(target, "b") == content(MIB, 2) + content(MIB, 3)

    @pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/./b", "a\nb"])
    def test_paths_lead_nowhere_else(self, target: BackupTarget, path: str) -> None:
        """Paths are relative and plain."""
        with pytest.raises(InvalidParameter, match="path"):
            target.create(path)
