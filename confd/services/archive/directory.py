"""A shelf in this node's own directories."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from typing import IO

import msgspec

from confd.cluster.identity import sync_directory
from confd.model.errors import StorageDuplicate, StorageNotFound, StorageWrite
from confd.services.archive.files import BAD, TABLE, ShelfFiles, names_in, read_upload
from confd.services.archive.index import Index, Upload
from confd.services.archive.shelf import Copy, Look
from confd.services.archive.stripes import table_of
from confd.services.archive.uploading import DirectoryLease


class Directory:
    """The shelf of this node."""

    def __init__(self, files: ShelfFiles) -> None:
        self._files = files

    def look(self) -> Look:
        """Return what is there."""
        with self._files.changing():
            writing, left = self._files.uploading()
            files = tuple(self._files.read_indexes())
            held, used = self._files.copies(), self._files.usage()[0]
            known = {index.id for index in files}
            gone, aged = self._files.tombstones()
        strays = {file: left.get(file, ()) for file in (*left, *held) if file not in known | writing}
        return Look(
            files=files,
            gone=gone,
            aged=aged,
            held={file: tuple(numbers) for file, numbers in held.items()},
            writing=frozenset(writing),
            left=strays,
            free={share: max(0, size - used[share]) for share, size in self._files.shares.items()},
            used=used,
        )

    def begin(self, upload: Upload) -> DirectoryLease:
        """Begin an upload; the lock is held from here on."""
        with self._files.changing():
            if upload.id in names_in(self._files.gone):
                raise StorageNotFound(f"{upload.path} of volume {self._files.name} was deleted meanwhile")
            if not upload.repair:
                self._check_path(upload)
            lock = (self._files.uploads / upload.id).open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise StorageDuplicate(f"{upload.path} of volume {self._files.name} is being written already") from None
            lock.truncate(0)
            lock.write(msgspec.json.encode(upload))
            lock.flush()
        return DirectoryLease(self._files, upload, lock)

    def table(self, copy: Copy) -> bytes:
        """Return the table of a copy."""
        with self._files.errors():
            return self._files.copy(copy, TABLE).read_bytes()

    def read(self, copy: Copy, offset: int) -> IO[bytes]:
        """Read a copy from an offset."""
        with self._files.errors():
            file = self._files.copy(copy).open("rb", buffering=0)
            file.seek(offset)
            return file

    def suspect(self, copy: Copy, index: Index, offset: int) -> None:
        """Look at a stripe again; a copy that is bad there is marked, and not counted any longer."""
        part = index.parts[copy.number]
        try:
            table = table_of(self.table(copy), part.check, index.stripe, part.length)
            with self.read(copy, offset) as file:
                wanted = min(index.stripe, part.length - offset)
                data = file.read(wanted)
        except StorageNotFound:
            return
        except StorageWrite:
            table = None
        if table is None or table.bad(offset, data, wanted) is not None:
            self._files.copy(copy).with_name(f"{copy.file}.{copy.number}{BAD}").touch()

    def remove(self, files: Iterable[str]) -> None:
        """Delete files for ever."""
        doomed = list(files)
        with self._files.changing():
            for file in doomed:
                (self._files.gone / file).touch()
            sync_directory(self._files.gone)
            for file in doomed:
                (self._files.indexes / file).unlink(missing_ok=True)
            sync_directory(self._files.indexes)
            for file in doomed:
                self._files.discard(file)

    def clear(self, uploads: Iterable[str]) -> None:
        """Remove what is left of dead uploads."""
        with self._files.changing():
            writing, _ = self._files.uploading()
            for file in uploads:
                if file not in writing and not (self._files.indexes / file).exists():
                    self._files.discard(file)

    def forget(self, files: Iterable[str]) -> None:
        """Drop tombstones."""
        with self._files.changing():
            for file in files:
                (self._files.gone / file).unlink(missing_ok=True)

    def written_paths(self) -> list[str]:
        """Return the paths of new files whose writers live; a copy that is repaired is none."""
        with self._files.changing():
            writing, _ = self._files.uploading()
            uploads = [read_upload(self._files.uploads / name) for name in writing]
        return sorted(upload.path for upload in uploads if not upload.repair)

    def close(self) -> None:
        """Nothing is kept open."""

    def _check_path(self, upload: Upload) -> None:
        if any(index.path == upload.path for index in self._files.read_indexes()):
            raise StorageDuplicate(f"volume {self._files.name} has a file {upload.path} already; delete it first")
        writing, _ = self._files.uploading()
        for name in writing:
            if read_upload(self._files.uploads / name).path == upload.path:
                raise StorageDuplicate(f"{upload.path} of volume {self._files.name} is being written already")
