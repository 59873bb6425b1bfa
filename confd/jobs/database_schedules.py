"""Schedules of databases: backups and snapshots that are taken like cron jobs run."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

import msgspec

from confd.exaconf import BackupSchedule, Database, SnapshotSchedule
from confd.jobs import locks
from confd.jobs.types import DatabaseName, VolumeName
from confd.model.errors import AlreadyExists, InvalidParameter, NotFound
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, Substitute, job
from confd.services.backup.retention.expiry import check_lifetime
from confd.services.backup.scheduling.cron import FIELDS, check_occurs
from confd.services.backup.scheduling.schedules import cron_of
from confd.services.backup.snapshots.snapshot import require_snapshot_volume
from confd.services.backup.targets import archive_volume

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_VOLUME: Final = Substitute("backup_volume_id", "backup_volume_name", number_wins=True)
S = TypeVar("S", BackupSchedule, SnapshotSchedule)
_NAME: Final = re.compile(r"\w(?:[\w .+()-]{0,62}[\w.+)-])?")


def check_schedule_name(name: str) -> None:
    """Check the name of a new schedule."""
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name!r} cannot name a schedule: use 1 to 64 letters, digits, blanks, '_', '.', '-', '+', '(', ')', "
            "beginning with a letter or digit"
        )


def _rule(name: str, description: str) -> Rule:
    field = FIELDS[name]
    return Rule(minimum=field.first, maximum=field.last, check=field.check, form=field.form, description=description)


ScheduleName = Annotated[str, Rule(check=check_schedule_name)]
Level = Annotated[int, Rule(minimum=0, maximum=9)]
Lifetime = Annotated[str | int, Rule(check=check_lifetime, form="a lifetime such as '1w 3d'")]
Minute = Annotated[str | int, _rule("minute", "Minute, as in cron.")]
Hour = Annotated[str | int, _rule("hour", "Hour, as in cron.")]
Day = Annotated[str | int, _rule("day", "Day of the month, as in cron.")]
Month = Annotated[str | int, _rule("month", "Month, as in cron.")]
Weekday = Annotated[str | int, _rule("weekday", "Day of the week as in cron, 0 and 7 are Sunday; or its English name.")]


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume("backup_volume_name", "backup_volume_id", share=True)],
    substitutes=[_VOLUME],
)
def db_backup_add_schedule(
    ctx: Context,
    backup_name: ScheduleName,
    backup_volume_id: int | None,
    db_name: DatabaseName,
    level: Level,
    *,
    backup_volume_name: VolumeName | None = None,
    enabled: bool = False,
    expire: Lifetime | None = None,
    minute: Minute = "0",
    hour: Hour = "*",
    day: Day = "*",
    month: Month = "*",
    weekday: Weekday = "*",
) -> None:
    """Back a database up again and again, like cron, while it runs.

    Times are in the time zone of the cluster (Timezone in EXAConf). Without any, a backup is taken at every full hour.
    A backup that is due while another one of the database runs waits for it.

    :param backup_name: Name of the schedule, unique within the database.
    :param backup_volume_id: Id of the archive volume for the backups.
    :param db_name: Database to back up.
    :param level: 0 is a full backup; 1 to 9 save what changed since the last one of a lower level.
    :param backup_volume_name: Archive volume by name; may be given instead of backup_volume_id.
    :param enabled: Run it from now on; otherwise it is only stored.
    :param expire: Lifetime of the backups, such as '1w 3d'; they never expire when it is left out.

    Examples:
    {db_name: exa_db, backup_name: backup1, backup_volume_name: r0001, enabled: true, level: 0, expire: 1w 3d, minute: 0, hour: 0, day: '*', month: '*', weekday: 0}
    {db_name: MY_DATABASE, backup_name: daily_incremental, backup_volume_name: r0001, enabled: true, level: 1, expire: 3d, minute: 0, hour: 0, day: '*', month: '*', weekday: '1,2,3,4,5,6'}
    {db_name: DB1, backup_name: Full_Backup_API, backup_volume_id: 10005, level: 0, expire: 9d, minute: '*', hour: '0', day: '*', month: '*', weekday: '6', enabled: true}
    """  # noqa: E501 - one example per line
    database = ctx.conf.require_database(db_name)
    _require_free(database, database.backups, backup_name, "db_backup_modify_schedule")
    volume = archive_volume(ctx.conf, backup_volume_name, backup_volume_id)
    schedule = BackupSchedule(
        name=backup_name, volume=str(volume.id), level=level,
        **_settings(enabled=enabled, expire=expire, minute=minute, hour=hour, day=day, month=month, weekday=weekday),
    )  # fmt: skip
    _put(ctx, database, schedule)


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_backup_modify_schedule(
    ctx: Context,
    backup_name: str,
    db_name: DatabaseName,
    *,
    enabled: bool | None = None,
    expire: Lifetime | None = None,
    minute: Minute | None = None,
    hour: Hour | None = None,
    day: Day | None = None,
    month: Month | None = None,
    weekday: Weekday | None = None,
) -> None:
    """Change when a scheduled backup is taken, how long it is kept, or whether it is taken at all.

    What is left out stays. Volume and level cannot be changed: remove the schedule and add another one.

    :param backup_name: Schedule to change.
    :param db_name: Database that it belongs to.
    :param enabled: Whether it runs.
    :param expire: New lifetime of the backups, such as '1w 3d'; empty: they never expire.

    Examples:
    {db_name: exa_db, backup_name: backup1, enabled: true}
    {db_name: DB1, backup_name: Full_Backup_API, minute: '30', hour: '20', weekday: '0'}
    """
    database = ctx.conf.require_database(db_name)
    schedule = _require(database, database.backups, backup_name, "backup")
    changes = _settings(enabled=enabled, expire=expire, minute=minute, hour=hour, day=day, month=month, weekday=weekday)
    _put(ctx, database, msgspec.structs.replace(schedule, **changes))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_backup_remove_schedule(ctx: Context, backup_name: str, db_name: DatabaseName) -> None:
    """Take no more backups by a schedule; those that were taken stay.

    :param backup_name: Schedule to remove.
    :param db_name: Database that it belongs to.

    Examples:
    {db_name: exa_db, backup_name: backup1}
    """
    database = ctx.conf.require_database(db_name)
    _require(database, database.backups, backup_name, "backup")
    rest = {name: one for name, one in database.backups.items() if name != backup_name}
    ctx.conf.put(msgspec.structs.replace(database, backups=rest))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_snapshot_backup_add_schedule(
    ctx: Context,
    backup_name: ScheduleName,
    db_name: DatabaseName,
    *,
    enabled: bool = False,
    expire: Lifetime | None = None,
    minute: Minute = "0",
    hour: Hour = "*",
    day: Day = "*",
    month: Month = "*",
    weekday: Weekday = "*",
) -> None:
    """Take snapshots of a database again and again, like cron, while it runs.

    Times are in the time zone of the cluster (Timezone in EXAConf).

    :param backup_name: Name of the schedule, unique among the snapshot schedules of the database.
    :param db_name: Database with a snapshot volume.
    :param enabled: Run it from now on; otherwise it is only stored.
    :param expire: Lifetime of the snapshots, such as '1w 3d'; they never expire when it is left out.

    Examples:
    {db_name: exa_db, backup_name: snapshot1, enabled: true, expire: 1w 3d, minute: '0', hour: '*', day: '*', month: '*', weekday: '*'}
    """  # noqa: E501 - one example per line
    database = ctx.conf.require_database(db_name)
    require_snapshot_volume(ctx.conf, database)
    _require_free(database, database.snapshots, backup_name, "db_snapshot_backup_modify_schedule")
    settings = _settings(
        enabled=enabled, expire=expire, minute=minute, hour=hour, day=day, month=month, weekday=weekday
    )
    _put(ctx, database, SnapshotSchedule(name=backup_name, **settings))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_snapshot_backup_modify_schedule(
    ctx: Context,
    backup_name: str,
    db_name: DatabaseName,
    *,
    enabled: bool | None = None,
    minute: Minute | None = None,
    hour: Hour | None = None,
    day: Day | None = None,
    month: Month | None = None,
    weekday: Weekday | None = None,
) -> None:
    """Change when scheduled snapshots are taken, or whether they are taken at all; what is left out stays.

    :param backup_name: Schedule to change.
    :param db_name: Database that it belongs to.
    :param enabled: Whether it runs.

    Examples:
    {db_name: exa_db, backup_name: snapshot1, day: '*', hour: '*', minute: '15', month: '*'}
    {db_name: exa_db, backup_name: snapshot1, enabled: true}
    """
    database = ctx.conf.require_database(db_name)
    schedule = _require(database, database.snapshots, backup_name, "snapshot")
    changes = _settings(enabled=enabled, minute=minute, hour=hour, day=day, month=month, weekday=weekday)
    _put(ctx, database, msgspec.structs.replace(schedule, **changes))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_snapshot_backup_remove_schedule(ctx: Context, backup_name: str, db_name: DatabaseName) -> None:
    """Take no more snapshots by a schedule; those that were taken stay.

    :param backup_name: Schedule to remove.
    :param db_name: Database that it belongs to.

    Examples:
    {db_name: exa_db, backup_name: snapshot1}
    """
    database = ctx.conf.require_database(db_name)
    _require(database, database.snapshots, backup_name, "snapshot")
    rest = {name: one for name, one in database.snapshots.items() if name != backup_name}
    ctx.conf.put(msgspec.structs.replace(database, snapshots=rest))


def _settings(**given: str | int | bool | None) -> dict[str, Any]:
    """Return what was given as EXAConf keeps it: cron fields and lifetimes as text, as they were given."""
    changes: dict[str, Any] = {
        name: value if name == "enabled" else str(value).strip() for name, value in given.items() if value is not None
    }
    return changes | ({"expire": None} if changes.get("expire") == "" else {})


def _put(ctx: Context, database: Database, schedule: BackupSchedule | SnapshotSchedule) -> None:
    check_occurs(cron_of(schedule))
    if isinstance(schedule, BackupSchedule):
        changed = msgspec.structs.replace(database, backups={**database.backups, schedule.name: schedule})
    else:
        changed = msgspec.structs.replace(database, snapshots={**database.snapshots, schedule.name: schedule})
    ctx.conf.put(changed)


def _require_free(database: Database, known: dict[str, Any], name: str, modify: str) -> None:
    if name in known:
        raise AlreadyExists(
            f"backup_name: database {database.name} has a schedule {name!r} already; "
            f"choose another name, or change it with {modify}"
        )


def _require(database: Database, known: dict[str, S], name: str, kind: str) -> S:
    if name not in known:
        names = ", ".join(map(repr, sorted(known))) or "none"
        raise NotFound(f"backup_name: database {database.name} has no {kind} schedule {name!r}; it has {names}")
    return known[name]
