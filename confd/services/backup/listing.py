"""Backups as ``db_backup_list`` shows them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from confd.services.backup.backup import Backup, Backups
from confd.services.backup.location import time_of

_GIB: Final = 1 << 30
_MINUTE: Final = "%Y-%m-%d %H:%M"
_LAST: Final = datetime(9999, 12, 31, 23, 59, tzinfo=UTC).timestamp()


def describe_backups(backups: Backups, database: str, now: float, *, foreign: bool = False) -> list[dict[str, Any]]:
    """Return the backups of a database, and with ``foreign`` those of others behind them, oldest first."""
    others = [backup for backup in backups.all if foreign and backup.database != database]
    return [describe_backup(backups, backup, database, now) for backup in (*backups.of(database), *others)]


def describe_backup(backups: Backups, backup: Backup, database: str, now: float) -> dict[str, Any]:
    """Return one backup. ``last_item``: nothing builds on it; only the expiry of own backups can be changed."""
    own, location = backup.database == database, backup.location
    began = time_of(location.stamp)
    shown = {
        "bid": location.bid,
        "comment": backups.away(backup) or (backup.status.comment if backup.status else ""),
        "dependencies": ", ".join(str(base.location.bid) for base in backups.bases(backup)) or "-",
        "expire": "" if backup.expires is None else format_minute(backup.expires),
        "expired": backup.expired(now),
        "id": backup.id,
        "last_item": own and not backups.dependants(backup),
        "level": location.level,
        "path": backup.path,
        "system": backup.database,
        "timestamp": "" if began is None else format_minute(began),
        "ts": location.stamp,
        "usable": backups.usable(backup),
        "usage": f"{backup.used / _GIB:.3f} GiB",
        "volume": backup.volume_name,
    }
    return dict(sorted((shown | ({"expire_alterable": f"{backup.volume} {location.set}"} if own else {})).items()))


def format_minute(time: float) -> str:
    """Return a time (UTC seconds) as lists show it; what lies beyond all calendars as the last minute of them."""
    return datetime.fromtimestamp(min(max(time, 0.0), _LAST), UTC).strftime(_MINUTE)
