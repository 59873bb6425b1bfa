"""Reads the data of a backup from its volume, checked against the hash that was taken when it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from backports import zstd

from confd.model.errors import ConfDError, StorageCorrupted, StorageNotFound
from confd.services.backup.order import Link
from confd.services.backup.target import BackupTarget

_PIECE: Final = 1 << 20


def unpacked(target: BackupTarget, link: Link, read: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """Yield the tar of a backup; ends with an error unless all of it was what was written.

    :param read: told of every number of bytes that came from the volume.
    :raises StorageCorrupted: it is damaged or incomplete; names the file.
    """
    decompressor = zstd.ZstdDecompressor()
    plain = 0
    try:
        for piece in _stored(target, link, read):
            data = b"" if decompressor.eof else decompressor.decompress(piece, _PIECE)
            while data:
                plain += len(data)
                yield data
                # A small piece may stand for a great deal of zeros.
                data = b"" if decompressor.needs_input or decompressor.eof else decompressor.decompress(b"", _PIECE)
    except zstd.ZstdError as error:
        raise _corrupted(link, str(error)) from error
    if plain != link.plain:
        raise _corrupted(link, f"{plain} instead of {link.plain} bytes when unpacked")


def check(target: BackupTarget, link: Link) -> None:
    """Read a file from end to end.

    :raises StorageCorrupted: it is not what was written; names the file.
    """
    for _ in _stored(target, link, lambda _: None):
        pass


def _stored(target: BackupTarget, link: Link, read: Callable[[int], None]) -> Iterator[bytes]:
    sha256, size = hashlib.sha256(), 0
    try:
        reader = target.open(link.path)
        try:
            while piece := reader.read(_PIECE):
                sha256.update(piece)
                size += len(piece)
                read(len(piece))
                yield piece
        finally:
            reader.close()
    except (StorageCorrupted, StorageNotFound) as error:
        raise _corrupted(link, error.message) from error
    if (size, sha256.hexdigest()) != (link.size, link.sha256):
        raise _corrupted(link, f"{size} bytes whose SHA-256 is not the one of the {link.size} bytes that were written")


def _corrupted(link: Link, reason: str) -> ConfDError:
    return StorageCorrupted(f"{link.path} is damaged: {reason}; use another backup")
