"""Rules about volumes, databases and logs: each gives the problems it finds."""

from __future__ import annotations

from collections.abc import Iterator

from confd.exaconf.cluster_rules import repeated
from confd.exaconf.conf import Conf
from confd.exaconf.sections import (
    BackupSchedule,
    BucketFs,
    Database,
    ObjectVolume,
    RemoteVolume,
    SnapshotSchedule,
    Volume,
    VolumeType,
)
from confd.exaconf.values import check_share
from confd.exaconf.volumes import FIRST_REMOTE_ID
from confd.model.durations import parse_duration
from confd.model.errors import InvalidParameter


def owners(conf: Conf) -> Iterator[str]:
    """Owners exist."""
    uids = {user.id for user in conf.users.values()}
    gids = {group.id for group in conf.groups.values()}
    for section in conf.sections.values():
        if isinstance(section, Volume | RemoteVolume | ObjectVolume | Database | BucketFs):
            uid, gid = section.owner
            if uid not in uids:
                yield f"[{section.key}] Owner: there is no user with id {uid}"
            if gid not in gids:
                yield f"[{section.key}] Owner: there is no group with id {gid}"


def volumes(conf: Conf) -> Iterator[str]:
    """Volumes lie on existing nodes and disks."""
    for volume in conf.volumes.values():
        here = f"[{volume.key}]"
        yield from _node_list(conf, volume, here)
        for node_id in volume.nodes:
            node = conf.nodes.get(node_id)
            if node and node.disks and volume.disk not in node.disks:
                yield f"{here} Disk: node {node_id} has no disk {volume.disk!r}"
        if volume.num_master_nodes > len(volume.nodes):
            yield f"{here} NumMasterNodes: must not exceed the number of nodes, {len(volume.nodes)}"
        if volume.redundancy > len(volume.nodes):
            yield f"{here} Redundancy: must not exceed the number of nodes, {len(volume.nodes)}"
        if volume.type is VolumeType.DATA and (volume.ports or volume.partition_size):
            yield f"{here}: only archive volumes have ports and a partition size"
    for remote in conf.remote_volumes.values():
        if remote.id < FIRST_REMOTE_ID:
            yield f"[{remote.key}] ID: must be {FIRST_REMOTE_ID} or more"


def databases(conf: Conf) -> Iterator[str]:
    """Databases have existing nodes and volumes."""
    for database in conf.databases.values():
        here = f"[{database.key}]"
        yield from _node_list(conf, database, here)
        if database.num_active_nodes > len(database.nodes):
            yield f"{here} NumActiveNodes: must not exceed the number of nodes, {len(database.nodes)}"
        try:
            check_share(database.mem_size, database.num_active_nodes)
        except InvalidParameter as error:
            yield f"{here} MemSize: {error.message}"
        if not _is_data(conf, database.data_volume):
            yield f"{here} DataVolume: there is no data volume {database.data_volume!r}"
        if (cloud := database.cloud_data_volume) and not _is_data(conf, cloud):
            yield f"{here} CloudDataVolume: there is no data volume {cloud!r}"
        if database.master_database is not None:
            yield from _worker(conf, database, here)
        schedules: list[BackupSchedule | SnapshotSchedule] = [*database.backups.values()]
        for schedule in [*schedules, *database.snapshots.values()]:
            try:
                parse_duration(schedule.expire or 0)
            except InvalidParameter as error:
                yield f"{here} {schedule.name} Expire: {error.message}"


def logging(conf: Conf) -> Iterator[str]:
    """Remote log rotation has a volume."""
    types, volume = conf.logging.log_rotation_types, conf.logging.remote_log_rotation_volume
    if "remote" in types and volume not in {*conf.volumes, *conf.remote_volumes}:
        yield f"[Logging] RemoteLogRotationVolume: there is no volume {volume!r}, which 'remote' needs"


def _worker(conf: Conf, database: Database, here: str) -> Iterator[str]:
    if database.master_database not in conf.databases:
        yield f"{here} MasterDatabase: there is no database {database.master_database!r}"
    if database.name == "MAIN":
        yield f"{here}: a worker database must not be called MAIN"
    if database.auto_start:
        yield f"{here} AutoStart: must be False for a worker database"


def _is_data(conf: Conf, name: str) -> bool:
    volume = conf.volumes.get(name)
    return name in conf.object_volumes or (volume is not None and volume.type is VolumeType.DATA)


def _node_list(conf: Conf, section: Volume | Database, here: str) -> Iterator[str]:
    if not section.nodes:
        yield f"{here} Nodes: there must be at least one"
    for node in section.nodes:
        if node not in conf.nodes:
            yield f"{here} Nodes: there is no node {node}"
    for node in repeated(section.nodes):
        yield f"{here} Nodes: node {node} is there twice"
