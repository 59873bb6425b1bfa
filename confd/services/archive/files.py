"""The files of one node's shelf, and how much they take.

Below the segment directory of each device::

    parts/<share>/<id>.<n>          a copy of part n; .open while it is written, .crc its table, .bad marks damage
    files/<id>   gone/<id>          indexes and tombstones (on the first device)
    uploads/<id>                    who writes: locked by the writer, names the nodes that may get the index
    lock                            held for a moment by whoever reserves room or changes what exists
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from confd.model.errors import InsufficientSpace, StorageNotFound, StorageWrite
from confd.services.archive.index import Index, Upload, read_index
from confd.services.archive.shelf import Copy

OPEN: Final = ".open"
TABLE: Final = ".crc"
BAD: Final = ".bad"
_PRIVATE: Final = 0o700
#: Nobody who began to repair a file before it was deleted is still at it after this time.
_TOMBSTONE_SECONDS: Final = 3600.0


class Place(msgspec.Struct, frozen=True):
    """The segment directory on one device, and how many bytes of the device it has; None when that is not known."""

    directory: Path
    limit: int | None = None


class ShelfFiles:
    """The files of a shelf.

    :param places: its segment directories, in the order of the devices; none when the devices are gone.
    :param shares: size of each share of this node.
    """

    def __init__(self, name: str, places: Sequence[Place], shares: dict[int, int]) -> None:
        self.name, self.places, self.shares = name, places, shares
        self._known: dict[tuple[str, int, int], Index] = {}

    @property
    def first(self) -> Path:
        """The directory that has all but copies.

        :raises StorageNotFound: no device of this node has a segment of the volume.
        """
        if not self.places:
            raise StorageNotFound(f"volume {self.name} has no segment here; st_volume_info shows where it has some")
        return self.places[0].directory

    @property
    def indexes(self) -> Path:
        """Where indexes are."""
        return self.first / "files"

    @property
    def gone(self) -> Path:
        """Where tombstones are."""
        return self.first / "gone"

    @property
    def uploads(self) -> Path:
        """Where uploads are."""
        return self.first / "uploads"

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep everybody else from changing the shelf; the directories are there inside."""
        with self.errors():
            for directory in (self.indexes, self.gone, self.uploads):
                directory.mkdir(_PRIVATE, exist_ok=True)
            with (self.first / "lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say what the system refused as an error of storage."""
        try:
            yield
        except FileNotFoundError as error:
            raise StorageNotFound(f"volume {self.name} misses {error.filename}; its device may be gone") from None
        except OSError as error:
            raise storage_error(self.name, error) from None

    def read_indexes(self) -> Iterator[Index]:
        """Return the indexes that are whole; each is read once as long as it does not change."""
        known, self._known = self._known, {}
        for name in names_in(self.indexes):
            state = (self.indexes / name).stat()
            key = (name, state.st_mtime_ns, state.st_size)
            index = known.get(key) or read_index(self.indexes / name)
            if index is not None:
                self._known[key] = index
                yield index

    def copy(self, copy: Copy, suffix: str = "") -> Path:
        """Return the path of a copy, or of its table; on the device that has it, else on the first one."""
        name = f"{copy.file}.{copy.number}"
        places = [place.directory / "parts" / str(copy.share) for place in self.places]
        chosen = next((place for place in places if (place / name).exists()), None)
        return (chosen or self.first / "parts" / str(copy.share)) / f"{name}{suffix}"

    def usage(self) -> tuple[dict[int, int], list[int]]:
        """Return the bytes taken by share, and by device."""
        shares, devices = dict.fromkeys(self.shares, 0), [0] * len(self.places)
        for at, share, entry in self._entries():
            if not entry.name.endswith((TABLE, BAD)):
                size = entry.stat().st_size
                shares[share] += size
                devices[at] += size
        return shares, devices

    def discard(self, file: str) -> None:
        """Remove all copies and the upload of a file; under the lock."""
        for _, _, entry in self._entries():
            if entry.name.startswith(f"{file}."):
                Path(entry.path).unlink(missing_ok=True)
        (self.uploads / file).unlink(missing_ok=True)

    def copies(self) -> dict[str, list[int]]:
        """Return the numbers of good copies by file; files of which there is anything else have none."""
        held: dict[str, set[int]] = {}
        bad: set[tuple[str, int]] = set()
        for _, _, entry in self._entries():
            file, number, *suffix = entry.name.split(".")
            held.setdefault(file, set())
            if not suffix:
                held[file].add(int(number))
            elif suffix == ["bad"]:
                bad.add((file, int(number)))
        return {file: sorted(n for n in numbers if (file, n) not in bad) for file, numbers in held.items()}

    def tombstones(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the deleted files, all and those that were deleted a while ago."""
        ages = {name: time.time() - (self.gone / name).stat().st_mtime for name in names_in(self.gone)}
        return frozenset(ages), frozenset(name for name, age in ages.items() if age > _TOMBSTONE_SECONDS)

    def uploading(self) -> tuple[set[str], dict[str, tuple[int, ...]]]:
        """Return the uploads whose writers live, and those whose writers died, with the nodes they know."""
        writing, left = set[str](), dict[str, tuple[int, ...]]()
        for name in names_in(self.uploads):
            with (self.uploads / name).open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    writing.add(name)
                else:
                    left[name] = _nodes_of(file.read())
        return writing, left

    def _entries(self) -> Iterator[tuple[int, int, os.DirEntry[str]]]:
        for at, place in enumerate(self.places):
            for share in self.shares:
                try:
                    entries = list(os.scandir(place.directory / "parts" / str(share)))
                except FileNotFoundError:
                    continue
                yield from ((at, share, entry) for entry in entries)


def storage_error(volume: str, error: OSError) -> InsufficientSpace | StorageWrite:
    """Return what the system said as an error of storage."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientSpace(f"the file system below volume {volume} is full: {error}; free space on it")
    return StorageWrite(f"volume {volume} cannot be used: {error}; check the device's file system")


def names_in(directory: Path) -> list[str]:
    """Return the names of files in a directory."""
    # Names with a dot in front are what a crash left of writing a file anew.
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))  # noqa: PTH208


def read_upload(path: Path) -> Upload:
    """Return what an upload's writer said of it."""
    return msgspec.json.decode(path.read_bytes(), type=Upload)


def _nodes_of(raw: bytes) -> tuple[int, ...]:
    try:
        return msgspec.json.decode(raw, type=Upload).nodes
    except msgspec.DecodeError:
        return ()
