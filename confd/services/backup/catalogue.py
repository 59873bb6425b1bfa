"""What backups a volume holds: read from the names of its files and from their statuses."""

from __future__ import annotations

from itertools import groupby
from typing import Final

import msgspec

from confd.model.errors import ConfDError, NodeOffline
from confd.services.backup.backup import FORMAT, Backup, Backups, Status
from confd.services.backup.location import Found, Location, find
from confd.services.backup.target import BackupTarget, File

_MOST: Final = 1 << 20
"""Bytes of a status; what is longer is none."""


def read_backups(target: BackupTarget, database: str | None = None) -> Backups:
    """Return the backups on a volume, incomplete ones too.

    :param database: of this one only.
    :raises NodeOffline: the volume cannot be read.
    """
    files = target.files("" if database is None else f"{database}/")
    known = [(found, file) for file in files if (found := find(file.path)) is not None]
    known.sort(key=lambda pair: pair[0].location)
    groups = groupby(known, key=lambda pair: pair[0].location)
    return Backups(_backup(target, location, list(members)) for location, members in groups)


def read_file(target: BackupTarget, path: str, most: int = _MOST) -> bytes:
    """Return the whole content of a small file.

    :raises StorageNotFound: there is none.
    """
    reader = target.open(path)
    try:
        content = bytearray()
        while len(content) <= most and (block := reader.read(1 << 16)):
            content += block
    finally:
        reader.close()
    return bytes(content)


def write_status(target: BackupTarget, location: Location, status: Status, version: int = 0) -> None:
    """Write the status of a backup; a higher version replaces what was said before, also when it ends in the middle."""
    with target.create(location.status(version)) as writer:
        writer.write(msgspec.json.encode(status))
        writer.commit()
    if version:
        earlier = [file.path for file in target.files(f"{location.directory}status_{location.stamp}")]
        target.delete(path for path in earlier if path != location.status(version))


def _backup(target: BackupTarget, location: Location, members: list[tuple[Found, File]]) -> Backup:
    versions = [found.version for found, _ in members if found.kind == "status"]
    sizes = {file.path: file.size for _, file in members}
    version = max(versions, default=0)
    away = "; ".join(dict.fromkeys(file.away for _, file in members if file.away))
    status = None
    try:
        status = _status(target, location, version, sizes) if versions else None
    except NodeOffline as error:
        away = away or error.message
    return Backup(
        volume=target.id,
        volume_name=target.name,
        location=location,
        status=status,
        used=sum(file.used for _, file in members),
        files=tuple(file.path for _, file in members),
        version=version,
        away=away,
    )


def _status(target: BackupTarget, location: Location, version: int, sizes: dict[str, int]) -> Status | None:
    """Return a status that fits the files beside it, None when the backup is not complete.

    :raises NodeOffline: the nodes that have it do not answer.
    """
    try:
        status = msgspec.json.decode(read_file(target, location.status(version)), type=Status)
    except NodeOffline:
        raise
    except (msgspec.DecodeError, ConfDError):
        # One that cannot be read is one that cannot be restored; the others are listed nevertheless.
        return None
    expected = {location.path: status.data.size, location.metadata: status.manifest.size}
    fits = all(sizes.get(path) == size for path, size in expected.items())
    return status if fits and status.format <= FORMAT else None
