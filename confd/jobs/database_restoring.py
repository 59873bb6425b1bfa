"""Restoring databases from backups."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from confd.cluster.operations import MASTER
from confd.exaconf import Database
from confd.jobs import locks
from confd.jobs.engine import homes
from confd.jobs.observing import ask, require_idle, require_stopped
from confd.jobs.shelves import find_backup, find_snapshot
from confd.jobs.types import DatabaseName
from confd.model.errors import NodeOffline, StorageCorrupted, Unsupported, WrongState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.backup.backup import Backup, Backups
from confd.services.backup.location import FORM
from confd.services.backup.order import RestoreOrder, VirtualOrder, WalOrder
from confd.services.backup.orders import open_backup, put_back, unput
from confd.services.backup.restoring.operations import fits
from confd.services.backup.restoring.verification import restore_order
from confd.services.backup.snapshots.snapshot import is_snapshot_id, snapshot_order
from confd.services.backup.targets import archive_volumes
from confd.services.database.record import Wanted, new_generation
from confd.services.database.supervision.orders import unwant
from confd.services.database.supervision.supervision import Supervision
from confd.services.wal.recovery import FORM as TIME_FORM
from confd.services.wal.recovery import check_reached, check_time, reach, read_time, show_time
from confd.services.wal.segment import directory

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_BLOCKING: Final = "blocking"
_NONBLOCKING: Final = "nonblocking"
_VIRTUAL: Final = "virtual access"

BackupId = Annotated[str, Rule(form=FORM)]
RestoreTime = Annotated[str, Rule(check=check_time, form=TIME_FORM, own=True)]
RestoreType = Annotated[str, Rule(choices=(_BLOCKING, _NONBLOCKING, _VIRTUAL))]


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume_of_database("db_name")],
)
def db_restore(
    ctx: Context,
    backup_id: BackupId,
    db_name: DatabaseName,
    restore_type: RestoreType,
    *,
    restore_time: RestoreTime | None = None,
) -> None:
    """Restore a stopped database from a backup, also from one of another database, and start it.

    Every file of the backup and of what it builds on is checked against its hash before the present data is replaced.
    blocking returns when all instances are up, nonblocking when the primary takes connections. virtual access
    opens the backup, or the point in time, for reading beside the present data, which is back after the next db_stop;
    such a backup must have no expiry.

    :param backup_id: Id of the backup, as db_backup_list shows it, or of a snapshot (db_snapshot_backup_list).
    :param db_name: Database to restore into; it must be stopped.
    :param restore_type: blocking, nonblocking or virtual access.
    :param restore_time: Point in time to go on to with the archived WAL, as 'YYYY-MM-DD hh:mm:ss' in UTC.

    Examples:
    {db_name: exa_db, backup_id: 1 exa_db/id_1/level_0/node_0/backup_201811131114 exa_db, restore_type: blocking}
    {db_name: VIRTUAL_DB, backup_id: 9 MY_DATABASE/id_2/level_0/node_0/backup_202305081443 MY_DATABASE, restore_type: virtual access}
    {db_name: qa, backup_id: 10002 EXA_VAL_QUAL/id_1/level_0/node_0/backup_202501271310 EXA_VAL_QUAL, restore_type: blocking}
    """  # noqa: E501
    database = ctx.conf.require_database(db_name)
    source = _snapshot(ctx, database, backup_id) if is_snapshot_id(backup_id) else _backup(ctx, backup_id)
    require_stopped(ctx, db_name, "restored")
    require_idle(ctx, db_name)
    if source.order.node is not None and restore_type == _VIRTUAL:
        raise Unsupported("restore_type: a snapshot is not opened beside the present data; use blocking")
    if source.active_nodes != database.num_active_nodes:
        raise WrongState(
            f"backup_id: the backup is of a database with {source.active_nodes} active nodes, {db_name} has "
            f"{database.num_active_nodes}; restore into one with as many"
        )
    home = homes(ctx, database)[0]
    ask(
        ctx,
        fits.on(home, database=db_name, postgresql=source.postgresql, levels=len(source.order.chain)),
    )
    order = source.order
    if restore_time is not None:
        order = msgspec.structs.replace(order, wal=_wal(ctx, database, home, source, restore_time))
    record = ctx.service(Supervision).record(db_name)
    create_new = ctx.learn("create_new", lambda: record.create_new)
    before = ctx.learn("next_generation", lambda: record.next_generation)
    generation = ctx.learn("generation", new_generation)
    if restore_type == _VIRTUAL:
        _open(ctx, db_name, VirtualOrder(home, generation, order), source.expires)
        return
    outcome = ctx.run(
        put_back.on(
            MASTER, database=db_name, order=order, generation=generation,
            early=restore_type == _NONBLOCKING,
        ),
        undo=unput.on(
            MASTER, database=db_name, generation=generation, create_new=create_new, next_generation=before
        ),
    )  # fmt: skip
    for warning in outcome.warnings:
        ctx.warn(warning)


def _wal(ctx: Context, database: Database, home: int, source: _Source, restore_time: str) -> WalOrder:
    """Find the WAL that leads from a backup to a point in time.

    :raises InvalidParameter: there is none that leads there; says how far it leads.
    :raises NodeOffline: it may be on volumes that cannot be read now.
    """
    backup = source.backup
    if backup is None or backup.status is None:
        raise Unsupported("restore_time: a snapshot is restored as it is; give the id of a backup")
    writer = ctx.committed.databases.get(backup.database)
    archives = [one.wal_archive_volume for one in (writer, database) if one is not None]
    # The database may have archived elsewhere then, or for a part of the time.
    others = [volume.name for volume in archive_volumes(ctx.committed)]
    volumes = dict.fromkeys((*archives, backup.volume_name, *others))
    found = ask(
        ctx,
        reach.on(
            home, database=database.name, source=backup.database,
            generation=backup.status.generation, volume=backup.volume_name, location=backup.location,
            candidates=[name for name in volumes if name in ctx.committed.volumes],
        ),
    )  # fmt: skip
    wanted = read_time(restore_time)
    check_reached(wanted, backup.status.ended, found)
    prefix = directory(backup.database, backup.status.generation)
    volume, *further = found.volumes
    return WalOrder(volume=volume, prefix=prefix, first=found.first, until=show_time(wanted), further=tuple(further))


def _open(ctx: Context, database: str, virtual: VirtualOrder, expires: float | None) -> None:
    if expires is not None:
        raise WrongState(
            f"backup_id: {virtual.order.path} expires, and would be deleted while it is open; take the expiry away "
            "first (db_backup_change_expiration)"
        )
    outcome = ctx.run(
        open_backup.on(MASTER, database=database, virtual=virtual),
        undo=unwant.on(MASTER, database=database, wanted=Wanted.RUNNING),
    )
    for warning in outcome.warnings:
        ctx.warn(warning)


class _Source(msgspec.Struct, frozen=True):
    """What is restored, and what wrote it; ``backup`` unless it is a snapshot."""

    order: RestoreOrder
    active_nodes: int
    postgresql: str
    expires: float | None
    backup: Backup | None = None


def _backup(ctx: Context, backup_id: str) -> _Source:
    _, backups, backup = find_backup(ctx, backup_id)
    order, status = restore_order(_chain(backups, backup)), backup.status
    assert status is not None
    return _Source(order, status.active_nodes, status.postgresql, backup.expires, backup)


def _snapshot(ctx: Context, database: Database, path: str) -> _Source:
    volume, node, snapshot = find_snapshot(ctx, database, path)
    if node not in homes(ctx, database):
        raise WrongState(
            f"backup_id: the snapshot lies on n{node}, which is no active node of {database.name}, or is away"
        )
    return _Source(snapshot_order(snapshot, volume, node), snapshot.active_nodes, snapshot.postgresql, snapshot.expires)


def _chain(backups: Backups, backup: Backup) -> tuple[Backup, ...]:
    chain = backups.chain(backup)
    if chain is None:
        if away := backups.away(backup):
            raise NodeOffline(f"backup_id: {backup.path} cannot be read now: {away}")
        raise StorageCorrupted(
            f"backup_id: {backup.path} is not usable: a part of it, or of what it builds on, is missing"
        )
    return chain
