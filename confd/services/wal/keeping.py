"""Which archived WAL is kept. Pure.

A restore to a point in time begins with a backup of the data's generation, on whichever volume, and goes on with WAL
from the segment with which the backup ends. So WAL goes that lies before the ends of all of them; of a backup that
cannot be read now the end is not known, and everything stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from confd.services.backup.backup import Backup, Backups
from confd.services.backup.retention.rules import is_unreadable
from confd.services.backup.target import File
from confd.services.wal.segment import find, parse

UNUSED_FOR: Final = 3600.0
"""Seconds for which WAL is kept without a backup to begin with: one that ends may need what came since it began."""


class Log(msgspec.Struct, frozen=True, order=True):
    """The WAL of one generation of a database's data."""

    database: str
    generation: str


class Anchor(msgspec.Struct, frozen=True):
    """A backup from which WAL leads on.

    What cannot be read now is None: ``generation`` of its data, ``end``, the number of the segment with which it ends.
    """

    database: str
    generation: str | None
    end: int | None


class Limit(msgspec.Struct, frozen=True):
    """What may go of a log: segments before ``first``; without one there is no use for any of it."""

    log: Log
    first: int | None


def leads_on(backups: Backups, backup: Backup) -> bool:
    """Tell whether a restore may begin with a backup, now or when what is away has returned."""
    return backups.usable(backup) or bool(backups.away(backup)) or is_unreadable(backup)


def limit(log: Log, anchors: Iterable[Anchor], *, busy: bool) -> Limit | None:
    """Return what may go of a log, None when all of it stays.

    :param anchors: all there are of its database, on all volumes.
    :param busy: a backup of this generation is being taken, which needs WAL from its beginning on.
    """
    ends = [one.end for one in anchors if one.database == log.database and one.generation in (log.generation, None)]
    if not ends:
        return None if busy else Limit(log, None)
    known = [end for end in ends if end is not None]
    return Limit(log, min(known)) if len(known) == len(ends) else None


def last_end(anchors: Iterable[Anchor], log: Log) -> int:
    """Return the segment with which the latest backup of a log ends; 0 when there is none."""
    own = (one for one in anchors if (one.database, one.generation) == (log.database, log.generation))
    return max((one.end for one in own if one.end is not None), default=0)


def logs_among(files: Iterable[File]) -> list[Log]:
    """Return the logs of which a volume has something."""
    return sorted({Log(*found[:2]) for file in files if (found := find(file.path))})


def superfluous(files: Iterable[File], limits: Collection[Limit], now: float) -> list[str]:
    """Return the paths of the files that may go; histories of timelines are small, and stay with what follows them."""
    known = {one.log: one for one in limits}
    return [
        file.path
        for file in files
        if (found := find(file.path))
        and (limit := known.get(Log(*found[:2])))
        and _passed(found[2], now - file.modified, limit.first)
    ]


def _passed(name: str, age: float, first: int | None) -> bool:
    if first is None:
        return age > UNUSED_FOR
    segment = parse(name)
    return segment is not None and segment.number < first
