"""Master operations on backups: what jobs order, and how it is undone."""

from __future__ import annotations

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.services.backup.order import BackupOrder
from confd.services.backup.removal import make_room
from confd.services.database.supervision import Supervision


@master_operation("backup.start")
def start(master: Master, database: str, order: BackupOrder) -> None:
    """Start a backup and have it attended."""
    make_room(master.cluster, database, order)
    master.service(Supervision).backups.begin(database, order)
    master.say(f"n{order.node}: backup {order.location.path} on volume {order.volume}")


@master_operation("backup.stop")
def stop(master: Master, database: str, order: BackupOrder) -> None:
    """End a backup and leave nothing of it; fine when it has ended or never began."""
    master.service(Supervision).backups.abort(database, order)
