"""Node operations of the WAL archive: what waits in a node's spools, and shipping it to the volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from backports import zstd

from confd.cluster.host import Host, reporter
from confd.cluster.operations import operation
from confd.exaconf import Database
from confd.model.errors import ConfDError, StorageDuplicate
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.engine.data import read_content
from confd.services.database.engine.layout import DataPlace, data_place
from confd.services.wal.missed import add_missed
from confd.services.wal.segment import SUFFIX, directory, is_kept, parse
from confd.services.wal.spool import GAP, generations, has_gap, meant_for, spools, waiting

_LEVEL: Final = 1
_AT_ONCE: Final = 32


class Shipped(msgspec.Struct, frozen=True):
    """What came of shipping: how many files were stored, how many still wait."""

    stored: int
    left: int


@operation("wal.ship")
def ship(host: Host, database: str, volume: str) -> Shipped:
    """Store waiting files on a volume, some at once; a file leaves its spool when it is there.

    :raises ConfDError: the volume does not take them; they stay.
    """
    target = open_target(host, volume)
    section = host.conf().require_database(database)
    place = data_place(host, section)
    stored, left, present = 0, 0, _generation(place) if section.wal_archive_volume else ""
    if present:
        prefix = directory(database, present)
        archived = {file.path.removeprefix(prefix).removesuffix(SUFFIX) for file in target.files(prefix)}
        add_missed(place.data / "pg_wal", spools(place.segment) / present, archived)
    for spool in generations(place.segment):
        names = waiting(spool)
        stored += _ship(target, directory(database, spool.name), spool, names[:_AT_ONCE])
        left += len(names[_AT_ONCE:])
        if not waiting(spool) and spool.name != present:
            _remove_empty(spool)
    return Shipped(stored, left)


@operation("wal.discard")
def discard(host: Host, database: str) -> int:
    """Remove what waits of a database that archives no more, when the volume it is meant for is gone; how many files.

    What it would lead on from there is gone as well.
    """
    section = host.conf().require_database(database)
    segment = data_place(host, section).segment
    if section.wal_archive_volume or meant_for(segment) in host.conf().volumes:
        return 0
    found = [spool / name for spool in generations(segment) for name in waiting(spool)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


@operation("wal.forget_gap")
def forget_gap(host: Host, database: str, last: int) -> None:
    """Say no more that files were left out, once a later backup lies behind them.

    :param last: the segment with which the latest backup of the data ends.
    """
    gap = spools(data_place(host, host.conf().require_database(database)).segment) / GAP
    left_out = [segment.number for name in gap.read_text().split() if (segment := parse(name))] if gap.exists() else []
    if all(number < last for number in left_out):
        gap.unlink(missing_ok=True)


@reporter("wal")
def report(host: Host) -> dict[str, Any]:
    """Report for each database how many files wait here and for which volume, and whether any were left out.

    They wait also when it archives no more; what was left out then concerns nobody.
    """
    known = host.conf().databases.values()
    return {database.name: shown for database in known for shown in _reported(host, database)}


def _reported(host: Host, database: Database) -> Iterator[dict[str, Any]]:
    try:
        segment = data_place(host, database).segment
    except ConfDError:
        return
    volume = database.wal_archive_volume or meant_for(segment)
    count = sum(len(waiting(spool)) for spool in generations(segment)) if volume else 0
    gap = bool(database.wal_archive_volume) and has_gap(segment)
    if count or gap:
        yield {"waiting": count, "volume": volume, "gap": gap}


def _ship(target: BackupTarget, prefix: str, spool: Path, names: list[str]) -> int:
    there = {file.path for file in target.files(prefix)} if names else set()
    stored = 0
    for name in names:
        path = f"{prefix}{name}{SUFFIX}"
        if is_kept(name) and path not in there:
            stored += _store(target, path, spool / name)
        (spool / name).unlink(missing_ok=True)
    return stored


def _store(target: BackupTarget, path: str, file: Path) -> int:
    try:
        with target.create(path) as writer:
            writer.write(zstd.compress(file.read_bytes(), level=_LEVEL))
            writer.commit()
    except StorageDuplicate:
        # Another node of the database has stored it meanwhile.
        return 0
    return 1


def _generation(place: DataPlace) -> str:
    content = read_content(place.data)
    return content.marker.generation if content else ""


def _remove_empty(spool: Path) -> None:
    try:
        spool.rmdir()
    except OSError:
        return
