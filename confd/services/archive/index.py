"""The index of a file: what it is made of. It is written last, and the file exists from then on."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from confd.cluster.identity import write_private
from confd.services.backup.target import File


class Part(msgspec.Struct, frozen=True):
    """A piece of a file: the share it lies on, its bytes, and the CRC of its table of CRCs."""

    share: int
    length: int
    check: int


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file. ``id`` is never used for another one; ``modified`` is in UTC seconds."""

    id: str
    path: str
    size: int
    modified: float
    stripe: int
    parts: tuple[Part, ...]
    sha256: str = ""

    def offsets(self) -> list[int]:
        """Return where each part begins in the file."""
        return [sum(part.length for part in self.parts[:number]) for number in range(len(self.parts))]


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way. ``nodes`` are all those that may get its index; ``repair`` fetches an existing file."""

    id: str
    path: str
    nodes: tuple[int, ...]
    repair: bool = False


def describe(index: Index, copies: dict[int, int], away: str = "") -> File:
    """Return a file as targets describe it.

    :param copies: number of copies by share.
    :param away: which nodes have to return before it can be read.
    """
    used = sum(part.length * copies.get(part.share, 0) for part in index.parts)
    return File(index.path, index.size, used, index.modified, index.sha256, away)


def write_index(path: Path, index: Index) -> None:
    """Put an index in its place; durable and whole on return."""
    body = msgspec.json.encode(index)
    write_private(path, b"%08x\n%s" % (zlib.crc32(body), body))


def read_index(path: Path) -> Index | None:
    """Return an index; None when it is missing or damaged, which other nodes repair."""
    try:
        check, _, body = path.read_bytes().partition(b"\n")
        if int(check, 16) == zlib.crc32(body):
            return msgspec.json.decode(body, type=Index)
    except (FileNotFoundError, ValueError):
        pass
    return None
