"""The schedules of a database: what they run, what is known of their runs, how they are described. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from confd.exaconf import BackupSchedule, Conf, Database, SnapshotSchedule
from confd.services.backup.scheduling.cron import Cron, next_run
from confd.services.backup.scheduling.due import SNAPSHOT_LEVEL, Plan, Run
from confd.services.database.description import describe_entry

PREFIX: Final = "schedules/"
"""Runtime records with the runs of a database's schedules, by key of the schedule."""

_BACKUP: Final = "backup/"
_SNAPSHOT: Final = "snapshot/"


def time_zone(conf: Conf) -> ZoneInfo:
    """Return the time zone of the cluster; UTC when this machine does not know it."""
    try:
        return ZoneInfo(conf.global_.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def cron_of(schedule: BackupSchedule | SnapshotSchedule) -> Cron:
    """Return when a schedule is due."""
    return Cron(schedule.minute, schedule.hour, schedule.day, schedule.month, schedule.weekday)


def plans(database: Database) -> dict[str, Plan]:
    """Return the enabled schedules of a database by key; one that cannot be read is left out."""
    found = {_BACKUP + name: Plan(cron_of(one), one.level) for name, one in database.backups.items() if one.enabled}
    found |= {
        _SNAPSHOT + name: Plan(cron_of(one), SNAPSHOT_LEVEL) for name, one in database.snapshots.items() if one.enabled
    }
    return {key: plan for key, plan in found.items() if plan.cron.readable}


def is_backup(key: str) -> bool:
    """Tell whether a key is one of a schedule of backups; else it is one of snapshots."""
    return key.startswith(_BACKUP)


def job_of(database: Database, key: str) -> tuple[str, dict[str, Any]]:
    """Return the job that a schedule runs, with its parameters."""
    kind, _, name = key.partition("/")
    if f"{kind}/" == _SNAPSHOT:
        snapshot = database.snapshots[name]
        return "db_snapshot_backup_start", _with_expire({"db_name": database.name}, snapshot.expire)
    backup = database.backups[name]
    volume: dict[str, Any] = (
        {"backup_volume_id": int(backup.volume)} if backup.volume.isdecimal() else {"backup_volume_name": backup.volume}
    )
    return "db_backup_start", _with_expire({"db_name": database.name, "level": backup.level, **volume}, backup.expire)


def read_runs(stored: Any) -> dict[str, Run]:
    """Return the runs that a runtime record holds."""
    return {} if stored is None else msgspec.convert(stored, dict[str, Run])


def describe_schedules(database: Database, runs: Mapping[str, Run], now: float, zone: tzinfo) -> dict[str, Any]:
    """Return ``backups`` and ``snapshots`` of db_info: settings, next run, the last one with its job and result.

    One that waits, for another backup or because the cluster refused it, is run next.
    """
    return {
        kind: {name: _described(one, runs.get(prefix + name), now, zone) for name, one in schedules.items()}
        for kind, prefix, schedules in (
            ("backups", _BACKUP, database.backups),
            ("snapshots", _SNAPSHOT, database.snapshots),
        )
    }


def _described(
    schedule: BackupSchedule | SnapshotSchedule, run: Run | None, now: float, zone: tzinfo
) -> dict[str, Any]:
    cron = cron_of(schedule)
    known = run or Run(timing="", handled=0.0)
    coming = next_run(cron, now, zone) if schedule.enabled and cron.readable else None
    if coming and known.waiting:
        coming = max(known.rest, now)
    return describe_entry(schedule) | {
        "next_run": _shown(coming or 0.0, zone),
        "last_run": _shown(known.last, zone),
        "last_job": known.job,
        "last_result": known.result,
    }


def _shown(moment: float, zone: tzinfo) -> str:
    # With the zone: in one hour of the year the time alone says too little.
    return datetime.fromtimestamp(moment, zone).strftime("%Y-%m-%d %H:%M %Z") if moment else ""


def _with_expire(params: dict[str, Any], expire: str | None) -> dict[str, Any]:
    return params | ({"expire": expire} if expire else {})
