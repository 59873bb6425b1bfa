"""Writing one upload into this node's own directories."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from confd.cluster.identity import sync_directory
from confd.model.errors import StorageDuplicate, StorageNotFound
from confd.services.archive.files import BAD, OPEN, TABLE, ShelfFiles
from confd.services.archive.index import Index, Upload, write_index
from confd.services.archive.shelf import Copy
from confd.services.archive.stripes import Data

_FLUSHED: Final = 16 << 20


class DirectoryLease:
    """The right to write one upload here; the open file ``lock`` carries its lock."""

    def __init__(self, files: ShelfFiles, upload: Upload, lock: IO[bytes]) -> None:
        self._files, self._upload, self._lock = files, upload, lock
        self._part: _OpenCopy | None = None
        self._published = False

    def free(self) -> dict[int, int]:
        """Return the bytes left by share."""
        used, _ = self._files.usage()
        return {share: max(0, size - used[share]) for share, size in self._files.shares.items()}

    def open(self, share: int, number: int) -> None:
        """Begin a copy of a part, on the device with most room."""
        self._give_up()
        with self._files.changing():
            at = max(range(len(self._files.places)), key=self._room_of_device)
            directory = self._files.places[at].directory / "parts" / str(share)
            for step in (directory.parent, directory):
                step.mkdir(0o700, exist_ok=True)
            self._part = _OpenCopy(Copy(self._upload.id, number, share), at, directory)

    def reserve(self, size: int) -> int:
        """Make room for a number of bytes; return how many there is room for now."""
        part = self._writing()
        with self._files.changing():
            shares, _ = self._files.usage()
            share = part.copy.share
            more = min(size - part.room, self._files.shares[share] - shares[share], self._room_of_device(part.at))
            part.extend(max(0, more))
        return part.room

    def append(self, data: Data) -> None:
        """Write the next bytes."""
        part = self._writing()
        with self._files.errors():
            part.append(data)

    def seal(self, table: bytes) -> None:
        """Make the open copy durable."""
        part, self._part = self._writing(), None
        with self._files.errors():
            part.seal(table)
            if self._upload.repair:
                self._remove_old(part.copy, but=part.at)

    def make_way(self) -> None:
        """Remove the damaged copy that the open one replaces."""
        with self._files.errors():
            self._remove_old(self._writing().copy)

    def publish(self, index: Index) -> None:
        """Make the file exist here."""
        with self._files.changing():
            if (self._files.gone / index.id).exists():
                raise StorageNotFound(f"{index.path} of volume {self._files.name} was deleted meanwhile")
            others = () if self._upload.repair else self._files.read_indexes()
            if any(other.path == index.path and other.id != index.id for other in others):
                raise StorageDuplicate(f"volume {self._files.name} has a file {index.path} already; delete it first")
            write_index(self._files.indexes / index.id, index)
            self._published = True

    def close(self) -> None:
        """End; what was not published is removed, as far as the disk allows it."""
        if self._lock.closed:
            return
        with suppress(Exception), self._files.changing():
            self._give_up()
            if not (self._published or self._upload.repair):
                self._files.discard(self._upload.id)
            (self._files.uploads / self._upload.id).unlink(missing_ok=True)
        self._lock.close()

    def _remove_old(self, copy: Copy, but: int | None = None) -> None:
        for at, place in enumerate(self._files.places):
            if at != but:
                final = place.directory / "parts" / str(copy.share) / f"{copy.file}.{copy.number}"
                for path in (final, _sibling(final, TABLE), _sibling(final, BAD)):
                    path.unlink(missing_ok=True)

    def _give_up(self) -> None:
        if self._part is not None:
            self._part.give_up()
            self._part = None

    def _writing(self) -> _OpenCopy:
        assert self._part is not None
        return self._part

    def _room_of_device(self, at: int) -> int:
        limit = self._files.places[at].limit
        return 1 << 62 if limit is None else limit - self._files.usage()[1][at]


class _OpenCopy:
    """A copy being written: as long as the room it has, cut to what it holds when sealed."""

    def __init__(self, copy: Copy, at: int, directory: Path) -> None:
        self.copy, self.at, self.room = copy, at, 0
        self._final = directory / f"{copy.file}.{copy.number}"
        self._path = self._final.with_name(f"{self._final.name}{OPEN}")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._written, self._flushed = 0, 0

    def extend(self, more: int) -> None:
        if more:
            os.ftruncate(self._file, self.room + more)
            self.room += more

    def append(self, data: Data) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._written += len(data)
        if self._written - self._flushed >= _FLUSHED:
            # Begins to write to the disk now, so that sealing need not wait for all of it.
            os.posix_fadvise(self._file, self._flushed, self._written - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = self._written

    def seal(self, table: bytes) -> None:
        os.ftruncate(self._file, self._written)
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        with _sibling(self._final, TABLE).open("wb") as file:
            file.write(table)
            file.flush()
            os.fsync(file.fileno())
        self._path.replace(self._final)
        _sibling(self._final, BAD).unlink(missing_ok=True)
        sync_directory(self._final.parent)

    def give_up(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._path.unlink(missing_ok=True)


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
