"""A backup target in a directory, for tests that are about backups and not about volumes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from confd.model.errors import InsufficientSpace, StorageDuplicate, StorageNotFound
from confd.services.backup.target import File


class DirectoryTarget:
    """Keeps files below ``root/files``; unfinished ones below ``root/new``."""

    def __init__(self, root: Path, vid: int = 1, name: str = "Archive1", capacity: int | None = None) -> None:
        self.root, self.id, self.name, self.capacity = root, vid, name, capacity
        for place in (root / "files", root / "new"):
            place.mkdir(parents=True, exist_ok=True)

    def create(self, path: str) -> DirectoryWriter:
        if (self.root / "files" / path).exists():
            raise StorageDuplicate(f"{path} exists")
        return DirectoryWriter(self, path)

    def open(self, path: str) -> BinaryIO:
        try:
            return (self.root / "files" / path).open("rb")
        except FileNotFoundError:
            raise StorageNotFound(f"there is no file {path}") from None

    def files(self, prefix: str = "") -> list[File]:
        base = self.root / "files"
        paths = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
        return [self.file(path) for path in paths if path.startswith(prefix)]

    def file(self, path: str) -> File:
        place = self.root / "files" / path
        size = place.stat().st_size
        return File(path, size, size, place.stat().st_mtime, hashlib.sha256(place.read_bytes()).hexdigest())

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self.root / "files" / path).unlink(missing_ok=True)

    def free(self) -> int | None:
        return None if self.capacity is None else self.capacity - sum(file.size for file in self.files())

    def sweep(self) -> None:
        shutil.rmtree(self.root / "new")
        (self.root / "new").mkdir()


class DirectoryWriter:
    def __init__(self, target: DirectoryTarget, path: str) -> None:
        self.target, self.path, self.written = target, path, 0
        self.place = target.root / "new" / f"{os.getpid()}-{path.replace('/', '-')}"
        self.handle: BinaryIO | None = self.place.open("wb")

    def write(self, data: bytes) -> None:
        self.written += len(data)
        free = self.target.free()
        if free is not None and self.written > free:
            raise InsufficientSpace(f"volume {self.target.name} is full") from OSError(errno.ENOSPC, "full")
        assert self.handle
        self.handle.write(data)

    def commit(self) -> File:
        assert self.handle
        self.handle.close()
        self.handle = None
        final = self.target.root / "files" / self.path
        final.parent.mkdir(parents=True, exist_ok=True)
        self.place.rename(final)
        return self.target.file(self.path)

    def abort(self) -> None:
        if self.handle:
            self.handle.close()
            self.handle = None
            self.place.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
