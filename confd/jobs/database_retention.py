"""How long backups stay: deleting them, and changing when they expire."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any, Final

import msgspec

from confd.cluster.operations import MASTER
from confd.exaconf import Volume
from confd.jobs import locks
from confd.jobs.shelves import backups_on, node_for, readable
from confd.jobs.types import DatabaseName, VolumeName
from confd.model.errors import InUse, InvalidParameter, NodeOffline, NotFound, WrongState
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, Substitute, job
from confd.services.backup.backup import Backup, Backups
from confd.services.backup.location import Location, parse_id, parse_set
from confd.services.backup.retention.expiry import check_date, read_date
from confd.services.backup.retention.removal import delete_backups, set_expiry
from confd.services.backup.retention.rules import deletion_order, orphaned, unusable, used_by
from confd.services.backup.targets import archive_volume
from confd.services.database.record import PREFIX, Record

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_VOLUME: Final = Substitute("backup_volume_id", "backup_volume_name", number_wins=True)


def _check_ids(ids: list[Any]) -> None:
    if not ids:
        raise InvalidParameter("give at least one id of a backup")
    for given in ids:
        parse_id(str(given))


BackupIds = Annotated[list[Any], Rule(check=_check_ids)]
BackupFiles = Annotated[str, Rule(check=parse_set, form="<db>/id_<n>/level_<l>")]
ExpiryDate = Annotated[str, Rule(check=check_date, form="a date such as '2022-05-14 5:00:00', or nothing for never")]


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.databases_of_backups("backup_list")],
)
def db_backups_delete(ctx: Context, backup_list: BackupIds, db_name: DatabaseName) -> None:
    """Delete backups, also such of other databases; all of them have to exist.

    Incremental backups that build on a deleted one become unusable; the job warns of them.

    :param backup_list: Ids of the backups, as db_backup_list shows them.
    :param db_name: Name of an existing database.

    Examples:
    {db_name: exa_db, backup_list: [1 exa_db/id_1/level_0/node_0/backup_201811131114 exa_db]}
    {db_name: exa_db, backup_list: [1 exa_db/id_1/level_0/node_0/backup_201811131114 exa_db, 1 DB1/id_2/level_0/node_0/backup_201811201114 DB1]}
    """  # noqa: E501 - one example per line
    ctx.conf.require_database(db_name)
    wanted = sorted({parse_id(str(given)) for given in backup_list})
    for number, ids in groupby(wanted, key=lambda pair: pair[0]):
        volume = archive_volume(ctx.conf, None, number, "backup_list")
        known = backups_on(ctx, volume)
        _delete(ctx, volume, known, [_require(known, volume, location) for _, location in ids])


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[
        locks.databases_of_backups("backup_files"),
        locks.volume("backup_volume_name", "backup_volume_id", share=True),
    ],
    substitutes=[_VOLUME],
)
def db_backup_change_expiration(
    ctx: Context,
    backup_files: BackupFiles,
    backup_volume_id: int | None,
    expire_time: ExpiryDate,
    *,
    backup_volume_name: VolumeName | None = None,
) -> None:
    """Change when a backup expires.

    It is deleted after the next backup of its database then, unless one that lives longer builds on it.

    :param backup_files: The backup, as key expire_alterable of db_backup_list shows it, without the volume.
    :param backup_volume_id: Archive volume with the backup.
    :param expire_time: When it expires (UTC), such as '2022-05-14 5:00:00', or in seconds since 1970; empty is never.
    :param backup_volume_name: Archive volume by name; may be given instead of backup_volume_id.

    Examples:
    {backup_volume_id: 1, backup_files: exa_db/id_1/level_0, expire_time: '2022-05-14 5:00:00'}
    """
    volume = archive_volume(ctx.conf, backup_volume_name, backup_volume_id)
    number, database, bid, level = parse_set(backup_files)
    if number not in (None, volume.id):
        raise InvalidParameter(f"backup_files: {backup_files!r} is on volume {number}, given is volume {volume.id}")
    expires = read_date(expire_time)
    if expires is not None and expires <= ctx.now():
        raise InvalidParameter(
            f"expire_time: {expire_time!r} is in the past; to be rid of a backup use db_backups_delete"
        )
    found = [
        one
        for one in backups_on(ctx, volume, database).of(database)
        if (one.location.bid, one.location.level) == (bid, level)
    ]
    if not found:
        raise NotFound(
            f"backup_files: volume {volume.name} has no backup {database}/id_{bid}/level_{level}; "
            "db_backup_list shows all, with show_foreign also those of other databases"
        )
    before = {one.path: one.expires for one in found if one.complete}
    if not before:
        if found[0].away:
            raise NodeOffline(f"backup_files: {found[0].path} cannot be read now: {found[0].away}")
        raise WrongState(f"backup_files: {found[0].path} is not complete; it has no date of expiry")
    node = node_for(ctx, volume)
    ctx.run(
        set_expiry.on(node, volume=volume.name, expiries=dict.fromkeys(before, expires)),
        undo=set_expiry.on(node, volume=volume.name, expiries=before),
    )


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_backup_delete_unusable(ctx: Context, db_name: DatabaseName) -> None:
    """Delete the backups of a database that cannot be restored, on all archive volumes.

    These are incomplete ones, and incremental ones that build on something that is missing. Volumes of which a part
    cannot be seen now are left alone, and named in a warning.

    :param db_name: Name of an existing database.

    Examples:
    {db_name: exa_db}
    """
    ctx.conf.require_database(db_name)
    deleted, kept = False, list[str]()
    for volume, known in readable(ctx, db_name):
        doomed = unusable(known, db_name, _used(ctx, volume))
        if doomed and (away := _away(ctx, volume)):
            kept.append(
                f"{', '.join(away)} of volume {volume.name} must be online: backups that seem unusable may only be out "
                "of reach"
            )
        elif doomed:
            _delete(ctx, volume, known, doomed)
            deleted = True
    if kept and not deleted:
        raise NodeOffline(f"{'; '.join(kept)}; nothing was deleted")
    for reason in kept:
        ctx.warn(f"{reason}; nothing was deleted there")


def _delete(ctx: Context, volume: Volume, known: Backups, doomed: list[Backup] | tuple[Backup, ...]) -> None:
    used = _used(ctx, volume)
    for one in doomed:
        if one.path in used or any(known.find(path) in known.dependants(one) for path in used):
            raise InUse(f"backup {one.path} is used by a backup or restore that runs; wait for its end (db_info)")
    for one in orphaned(known, doomed):
        ctx.warn(f"backup {one.id} cannot be restored any more: it builds on what is deleted")
    paths = [one.path for one in deletion_order(doomed)]
    ctx.settle(delete_backups.on(MASTER, volume=volume.name, paths=paths))


def _used(ctx: Context, volume: Volume) -> frozenset[str]:
    records = [msgspec.convert(stored, Record) for stored in ctx.records(PREFIX).values()]
    return frozenset(ctx.learn("used", lambda: sorted(used_by(records, volume.id or 0))))


def _require(known: Backups, volume: Volume, location: Location) -> Backup:
    backup = known.find(location.path)
    if backup is None:
        raise NotFound(
            f"backup_list: volume {volume.name} has no backup {location.path}; nothing was deleted "
            "(db_backup_list with show_foreign shows all)"
        )
    return backup


def _away(ctx: Context, volume: Volume) -> list[str]:
    """Return the nodes of a volume that cannot be seen: what lies there is missing only for now."""
    states = ctx.learn("states", lambda: {str(node): str(state) for node, state in ctx.cluster.node_states().items()})
    return [f"n{node}" for node in volume.nodes if states.get(str(node)) != NodeState.ONLINE]
