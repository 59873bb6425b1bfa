"""Which backups may go. Pure.

A backup *lives* until it expires; one that never expires lives for ever. What a living backup builds on stays as long
as it lives, expired or not. A backup whose status cannot be read may build on any of a lower level.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from confd.services.backup.backup import Backup, Backups
from confd.services.backup.location import find
from confd.services.backup.order import RestoreOrder
from confd.services.database.record import Record


def expendable(backups: Backups, now: float, kept: Collection[str] = ()) -> tuple[Backup, ...]:
    """Return the backups that have expired and that nothing needs, in an order in which they can be deleted.

    :param kept: paths of backups that an operation uses.
    """
    wanted = needed(backups, now, kept)
    return deletion_order(one for one in backups.all if one.expired(now) and one.path not in wanted)


def needed(backups: Backups, now: float, kept: Collection[str] = ()) -> frozenset[str]:
    """Return the paths of the backups that have to stay."""
    living = [one for one in backups.all if one.path in kept or not one.expired(now)]
    paths = {one.path for one in living}
    for one in living:
        paths |= {base.path for base in backups.bases(one)}
        if is_unreadable(one):
            paths |= {other.path for other in backups.of(one.database) if other.location.level < one.location.level}
    # What may be built on builds on others itself.
    return frozenset(paths | {base.path for one in backups.all if one.path in paths for base in backups.bases(one)})


def unusable(backups: Backups, database: str, kept: Collection[str] = ()) -> tuple[Backup, ...]:
    """Return the backups of a database that cannot be restored, without those that an operation uses.

    What cannot be read only because nodes are away is none of them.
    """
    broken = (one for one in backups.of(database) if not backups.usable(one) and not backups.away(one))
    return deletion_order(one for one in broken if one.path not in kept)


def orphaned(backups: Backups, deleted: Iterable[Backup]) -> tuple[Backup, ...]:
    """Return the usable backups that cannot be restored any more when others are deleted."""
    gone = {one.path for one in deleted}
    found = {one.path: one for path in gone if (base := backups.find(path)) for one in backups.dependants(base)}
    return tuple(one for path, one in sorted(found.items()) if path not in gone and backups.usable(one))


def deletion_order(backups: Iterable[Backup]) -> tuple[Backup, ...]:
    """Return backups so that each stands before what it builds on: at no moment a base is missing."""
    return tuple(sorted(backups, key=lambda one: (-one.location.level, one.location)))


def used_by(records: Iterable[Record], volume: int) -> frozenset[str]:
    """Return the paths of the backups on a volume that running backups and restores use, or that are open."""
    paths: set[str] = set()
    for record in records:
        if record.backup is not None and record.backup.volume_id == volume:
            paths |= {one.path for one in (record.backup.location, record.backup.base) if one is not None}
        for order in orders_of(record):
            if order.volume_id == volume:
                paths |= {link.path for link in order.chain}
    return frozenset(paths)


def replayed_from(record: Record, volume: str) -> RestoreOrder | None:
    """Return the restore of a database that needs archived WAL on a volume, None when there is none."""
    return next((order for order in orders_of(record) if order.wal is not None and volume in order.wal.volumes), None)


def orders_of(record: Record) -> list[RestoreOrder]:
    """Return what data of a database is made from: a restore that is ordered, a backup that is open."""
    opened = record.virtual.order if record.virtual is not None else None
    return [order for order in (record.restore, opened) if order is not None]


def is_unreadable(backup: Backup) -> bool:
    """Tell whether a backup has a status that could not be read, or does not fit its files."""
    return not backup.complete and any((found := find(path)) and found.kind == "status" for path in backup.files)
