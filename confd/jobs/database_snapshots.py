"""Snapshots of databases: copies on the nodes of their snapshot volume, made and restored quickly."""

from __future__ import annotations

from typing import Annotated, Any, Final

from confd.exaconf import Database, Volume
from confd.jobs import locks
from confd.jobs.shelves import snapshots_on
from confd.jobs.types import DatabaseName
from confd.model.errors import InvalidParameter, NodeOffline, NotFound, WrongState
from confd.model.naming import names
from confd.model.states import DatabaseState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, Allow, job
from confd.services.backup.location import Location, stamp_of
from confd.services.backup.retention.expiry import check_lifetime, expires
from confd.services.backup.snapshots.operations import remove_expired, remove_snapshots, take_snapshot
from confd.services.backup.snapshots.snapshot import describe_snapshots, parse_snapshot_id, require_snapshot_volume
from confd.services.database.supervision.supervision import Supervision

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_LEVEL: Final = 0
_PART: Final = 0

Lifetime = Annotated[str, Rule(check=check_lifetime, form="a lifetime such as '1w 3d'")]


def _check_ids(ids: list[Any]) -> None:
    if not ids:
        raise InvalidParameter("give at least one id of a snapshot")
    for given in ids:
        parse_snapshot_id(str(given))


SnapshotIds = Annotated[list[Any], Rule(check=_check_ids, aliases=("backup_list",))]


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[
        locks.database("db_name", share=True),
        locks.snapshots("db_name"),
        locks.snapshot_volume_of_database("db_name"),
    ],
)
def db_snapshot_backup_start(ctx: Context, db_name: DatabaseName, *, expire: Lifetime | None = None) -> None:
    """Take a snapshot of a running database, and return when it is there.

    Where the file system can share blocks this takes no time and, at first, no space. It lies on the node of the
    primary. Snapshots that have expired are removed afterwards.

    :param db_name: Database with a snapshot volume.
    :param expire: Lifetime of the snapshot, such as '1w 3d'; it never expires when it is left out.

    Examples:
    {db_name: exa_db, expire: 1w}
    """
    database = ctx.conf.require_database(db_name)
    volume = require_snapshot_volume(ctx.conf, database)
    node = _primary(ctx, database, volume)
    taken = ctx.now()
    location = Location(db_name, ctx.next_number(f"snapshots/{db_name}", 1), _LEVEL, _PART, stamp_of(taken))
    ctx.run(
        take_snapshot.on(node, volume=volume.name, location=location, taken=taken, expires=expires(expire, taken)),
        undo=remove_snapshots.on(node, volume=volume.name, paths=[location.path]),
    )
    for holder in volume.nodes:
        ctx.settle(remove_expired.on(holder, volume=volume.name, database=db_name, now=taken))


@job(READ, allow=_ADMINISTRATORS)
def db_snapshot_backup_list(ctx: Context, db_name: DatabaseName) -> list[dict[str, Any]]:
    """List the snapshots of a database, oldest first.

    :param db_name: Database with snapshots.

    Examples:
    {db_name: exa_db}
    """
    database = ctx.conf.require_database(db_name)
    if database.snapshot_volume is None:
        return []
    volume = ctx.conf.require_volume(database.snapshot_volume)
    found, away = snapshots_on(ctx, db_name, volume)
    if away:
        ctx.warn(f"{names(away)} cannot be asked; snapshots there are not shown")
    return describe_snapshots(found.values(), volume.name, ctx.now())


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name", share=True), locks.snapshots("db_name")])
def db_snapshot_backups_delete(ctx: Context, db_name: DatabaseName, snapshot_backup_list: SnapshotIds) -> None:
    """Delete snapshots of a database; all of them have to exist.

    :param db_name: Database that they were taken of.
    :param snapshot_backup_list: Ids of the snapshots, as db_snapshot_backup_list shows them.

    Examples:
    {db_name: exa_db, snapshot_backup_list: [exa_db/id_1/level_0/node_0/backup_202108121809]}
    """
    database = ctx.conf.require_database(db_name)
    volume = require_snapshot_volume(ctx.conf, database)
    wanted = [parse_snapshot_id(str(given)).path for given in snapshot_backup_list]
    found, away = snapshots_on(ctx, db_name, volume)
    for path in wanted:
        if path not in {one.id for one in found.values()}:
            text = f"snapshot_backup_list: database {db_name} has no snapshot {path!r}"
            if away:
                raise NodeOffline(f"{text} on the nodes that answer; it may be on {names(away)}")
            raise NotFound(f"{text}; db_snapshot_backup_list shows all")
    for node, path in ((node, one.id) for (node, _), one in found.items() if one.id in wanted):
        ctx.settle(remove_snapshots.on(node, volume=volume.name, paths=[path]))


def _primary(ctx: Context, database: Database, volume: Volume) -> int:
    """Return the node of the primary of a running database, where its snapshots are taken."""
    seen = ctx.learn("primary", lambda: _state_and_primary(ctx, database.name))
    if seen[0] != DatabaseState.RUNNING or seen[1] is None:
        raise WrongState(f"database {database.name} is in state {seen[0]}; only a running one has snapshots taken")
    if seen[1] not in volume.nodes:
        raise WrongState(
            f"the primary of {database.name} is on n{seen[1]}, where snapshot volume {volume.name} has no segment; "
            "give it one with st_volume_append_node"
        )
    return int(seen[1])


def _state_and_primary(ctx: Context, name: str) -> list[Any]:
    seen = ctx.service(Supervision).observe(name)
    return [str(seen.state), seen.record.primary]
