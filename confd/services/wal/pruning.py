"""Deletes archived WAL that no restore needs, on all archive volumes, also that of databases which are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Concatenate, Final, ParamSpec, TypeVar

import msgspec

from confd.cluster.host import Cluster, Host
from confd.cluster.operations import Operation, operation
from confd.exaconf import Volume
from confd.model.errors import ConfDError, NodeOffline
from confd.model.naming import names
from confd.model.states import NodeState
from confd.services.backup.backup import Backup, Backups
from confd.services.backup.catalogue import read_backups, read_file
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import archive_volumes, open_target
from confd.services.database.record import Record, read_record
from confd.services.wal.keeping import Anchor, Limit, Log, leads_on, limit, logs_among, superfluous
from confd.services.wal.segment import number_at

_LONGEST_MANIFEST: Final = 1 << 31
_WITHIN: Final = 600.0

P = ParamSpec("P")
R = TypeVar("R")


@operation("wal.logs")
def find_logs(host: Host, volume: str) -> list[Log]:
    """Return whose WAL is on a volume."""
    return logs_among(open_target(host, volume).files())


@operation("wal.anchors")
def find_anchors(host: Host, volume: str, databases: list[str]) -> list[Anchor]:
    """Return the backups on a volume from which WAL of some databases leads on."""
    target = open_target(host, volume)
    found = read_backups(target)
    return [
        Anchor(one.database, one.status.generation if one.status else None, _end(target, found, one))
        for one in found.all
        if one.database in databases and leads_on(found, one)
    ]


@operation("wal.prune")
def prune(host: Host, volume: str, limits: list[Limit], now: float) -> int:
    """Delete from a volume what may go; return the number of files."""
    target = open_target(host, volume)
    doomed = superfluous(target.files(), limits, now)
    target.delete(doomed)
    return len(doomed)


def expendable(cluster: Cluster) -> list[tuple[Volume, list[Limit]]]:
    """Return what may go of the WAL on each archive volume.

    :raises ConfDError: not everything on these volumes can be seen, and what is hidden may need any of it.
    """
    # Before the backups are listed: one that ends meanwhile is among them then, one that begins needs nothing old.
    records = {name: read_record(cluster, name) or Record() for name in cluster.conf().databases}
    volumes = archive_volumes(cluster.conf())
    _require_all(cluster, volumes)
    found = [(volume, _ask(cluster, volume, find_logs)) for volume in volumes]
    databases = sorted({log.database for _, logs in found for log in logs})
    anchors = [anchor for volume in volumes for anchor in anchors_on(cluster, volume, databases)]
    limits = ((volume, [limit(log, anchors, busy=_busy(log, records)) for log in logs]) for volume, logs in found)
    return [(volume, [one for one in some if one is not None]) for volume, some in limits]


def anchors_on(cluster: Cluster, volume: Volume, databases: list[str]) -> list[Anchor]:
    """Return the backups on a volume from which WAL of some databases leads on.

    :raises ConfDError: it cannot be read.
    """
    return _ask(cluster, volume, find_anchors, databases) if databases else []


def delete(cluster: Cluster, volume: Volume, limits: list[Limit], now: float) -> None:
    """Delete from a volume what may go.

    :raises ConfDError: it cannot be written.
    """
    if limits:
        _ask(cluster, volume, prune, limits, now)


def _ask(
    cluster: Cluster, volume: Volume, wanted: Operation[Concatenate[str, P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run an operation on a volume, on whichever of its nodes can."""
    failed: ConfDError = NodeOffline(f"no node of volume {volume.name} is online; start its nodes")
    away = _away(cluster, volume)
    for node in (one for one in volume.nodes if one not in away):
        try:
            answer: R = cluster.call(wanted.on(node, volume.name, *args, **kwargs), timeout=_WITHIN)
        except ConfDError as error:
            failed = error
        else:
            return answer
    raise failed


def _require_all(cluster: Cluster, volumes: Sequence[Volume]) -> None:
    for volume in volumes:
        if away := _away(cluster, volume):
            raise NodeOffline(f"{names(away)} of volume {volume.name} must be online: backups there may need it")


def _away(cluster: Cluster, volume: Volume) -> list[int]:
    states = cluster.node_states()
    return [node for node in volume.nodes if states.get(node) is not NodeState.ONLINE]


def _busy(log: Log, records: Mapping[str, Record]) -> bool:
    record = records.get(log.database, Record())
    return record.generation == log.generation and bool(record.operation)


def _end(target: BackupTarget, backups: Backups, backup: Backup) -> int | None:
    if not backups.usable(backup):
        return None
    try:
        return number_at(end_of(read_file(target, backup.location.metadata, _LONGEST_MANIFEST)))
    except (ConfDError, msgspec.DecodeError):
        return None


def end_of(manifest: bytes) -> str:
    """Return where the WAL ends that a backup brings along."""
    ranges = msgspec.json.decode(manifest, type=_Manifest).ranges
    return max((one.end for one in ranges), key=lambda lsn: [int(part, 16) for part in lsn.split("/")])


class _Range(msgspec.Struct, rename={"end": "End-LSN"}):
    end: str


class _Manifest(msgspec.Struct, rename={"ranges": "WAL-Ranges"}):
    ranges: list[_Range]
