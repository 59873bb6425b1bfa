"""Node operations on backups: those that are being taken, and those that lie on volumes."""

from __future__ import annotations

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import NodeError, StorageCorrupted, WrongState
from confd.services.archive import serving  # noqa: F401 -- a node that takes backups answers for its own shelves
from confd.services.backup.backup import Backup
from confd.services.backup.catalogue import read_backups
from confd.services.backup.order import BackupOrder, Link, Progress
from confd.services.backup.restoring.reading import check
from confd.services.backup.taking.client import WorkerClient
from confd.services.backup.taking.source import Source
from confd.services.backup.taking.taking import clean as clean_up
from confd.services.backup.taking.worker import Task
from confd.services.backup.targets import open_target, place_of
from confd.services.database.engine.data import read_content
from confd.services.database.engine.installation import Capability
from confd.services.database.engine.server import Server
from confd.services.database.observed import InstanceState


@operation("backup.begin")
def begin(host: Host, database: str, order: BackupOrder) -> Progress:
    """Start a backup of the primary on this node; fine when it has begun already.

    :raises WrongState: the server does not run.
    :raises Unsupported: the installation cannot do it.
    """
    client = WorkerClient(host, database)
    if client.order() != order:
        client.begin(Task(order, _source(host, database, order), place_of(host, order.volume)))
    return client.look(order)


@operation("backup.look")
def look(host: Host, database: str, order: BackupOrder, wait: bool = False) -> Progress:
    """Return how far a backup is.

    :param wait: at its end, or after a moment.
    """
    return WorkerClient(host, database).look(order, wait=wait)


@operation("backup.abort")
def abort(host: Host, database: str, order: BackupOrder) -> None:
    """End a backup, and leave nothing of it; fine when there is none."""
    client = WorkerClient(host, database)
    if client.order() == order:
        client.abort()


@operation("backup.clean")
def clean(host: Host, order: BackupOrder) -> None:
    """Remove what an interrupted backup left on its volume."""
    clean_up(open_target(host, order.volume), order)


@operation("backup.read")
def read(host: Host, volume: str, database: str | None = None) -> list[Backup]:
    """Return the backups on a volume, also incomplete ones."""
    return list(read_backups(open_target(host, volume), database).all)


@operation("backup.remove")
def remove(host: Host, volume: str, paths: list[str]) -> None:
    """Delete files of backups; those that are gone already are fine."""
    open_target(host, volume).delete(paths)


@operation("backup.verify")
def verify(host: Host, volume: str, files: list[Link]) -> list[str]:
    """Read files from end to end; return what is wrong with them, nothing when all is well."""
    target = open_target(host, volume)
    wrong: list[str] = []
    for file in files:
        try:
            check(target, file)
            host.say(f"{file.path}: {file.size} bytes, SHA-256 as written")
        except StorageCorrupted as error:
            wrong.append(error.message)
    return wrong


def _source(host: Host, database: str, order: BackupOrder) -> Source:
    server = Server(host, database)
    installation = server.choice().installation
    if order.base is not None:
        installation.require(Capability.INCREMENTAL_BACKUP, f"a backup of level {order.location.level}")
    content = read_content(server.place.data)
    if server.state() is not InstanceState.READY or content is None:
        raise WrongState(f"database {database} does not serve on {host.name}; start it before it is saved")
    if not server.layout.config.is_dir():
        raise NodeError(f"{server.layout.config} is missing")
    return Source(
        tool=installation.tool("pg_basebackup"),
        sockets=str(server.layout.sockets),
        port=server.database.port,
        uid=server.layout.account.uid,
        gid=server.layout.account.gid,
        data=str(server.place.data),
        scratch=str(server.layout.config),
        active_nodes=server.database.num_active_nodes,
        version=installation.version,
        generation=content.marker.generation,
        system_id=content.system_id,
        timeline=content.timeline,
    )
