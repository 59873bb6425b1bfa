"""Checks of volumes that several jobs share."""

from __future__ import annotations

import msgspec

from confd.exaconf import Conf, Configuration, Database, Disk, ObjectVolume, RemoteVolume, Volume, VolumeType
from confd.exaconf.volumes import FIRST_REMOTE_ID
from confd.model.errors import AlreadyExists, InUse, InvalidParameter, NotFound, PermissionDenied, Unsupported
from confd.model.sizes import Bytes, format_size
from confd.scheduler.caller import Caller


def find_volume(conf: Conf, vid: int | None, vname: str | None) -> Volume:
    """Return a volume on disks of nodes by its id or name.

    :raises NotFound: there is none; says where a volume of another kind is found.
    """
    if vname is not None:
        return conf.require_volume(vname)
    found = next((volume for volume in conf.volumes.values() if volume.id == vid), None)
    if found is not None:
        return found
    if vid is not None and vid >= FIRST_REMOTE_ID:
        raise NotFound(f"There is no volume with id {vid} on the nodes' disks; remote_volume_list shows remote ones")
    raise NotFound(f"There is no volume with id {vid}; st_volume_list shows all")


def check_name_free(conf: Conf, name: str) -> None:
    """Refuse a name that a volume of any kind has.

    :raises AlreadyExists: says which kind.
    """
    for noun, kind in (("volume", Volume), ("remote volume", RemoteVolume), ("object volume", ObjectVolume)):
        if conf.find(kind, name) is not None:
            raise AlreadyExists(f"there is a {noun} {name!r} already; volumes of all kinds share their names")


def check_ports(kind: VolumeType, **ports: int | None) -> None:
    """Refuse ports where nothing could answer on them."""
    given = [f"{name}_port" for name, port in ports.items() if port]
    if given and kind is VolumeType.DATA:
        raise InvalidParameter(f"{given[0]}: only archive volumes have ports, a data volume is reached by its database")
    if given:
        raise Unsupported(f"{given[0]}: this version serves no files of archive volumes; leave ports out")


def check_shape(volume: Volume) -> None:
    """Refuse more copies or masters than nodes."""
    count = len(volume.nodes)
    if volume.redundancy > count:
        raise InvalidParameter(f"redundancy: {volume.redundancy} copies need as many nodes, given are {count}")
    if volume.num_master_nodes > count:
        raise InvalidParameter(f"num_master_nodes: {volume.num_master_nodes} is more than the {count} nodes given")
    if volume.stripe_size % volume.block_size:
        raise InvalidParameter(
            f"stripe_size: {format_size(volume.stripe_size)} is not a multiple of the block size "
            f"{format_size(volume.block_size)}"
        )
    if volume.partition_size is not None and volume.partition_size < volume.stripe_size:
        raise InvalidParameter(
            f"partition_size: {format_size(volume.partition_size)} is less than the stripe size "
            f"{format_size(volume.stripe_size)}, of which parts of files consist"
        )


def check_disk(conf: Configuration, volume: Volume) -> None:
    """Refuse a disk that a node does not have.

    :raises NotFound: names the node and the disks it has.
    """
    for node in volume.nodes:
        disks = conf.require_node(node).disks
        if not (volume.disk in disks and disks[volume.disk].devices):
            names = ", ".join(_usable(disks)) or "none; st_device_add makes one"
            raise NotFound(f"n{node} has no disk {volume.disk!r}; it has {names}")


def check_caller(caller: Caller, volume: Volume) -> None:
    """Let only the owner and administrators go on."""
    if caller.uid != volume.owner[0] and not caller.administrator:
        raise PermissionDenied(
            f"user {caller.name!r} does not own volume {volume.name!r}; "
            "its owner, root or members of exaadm may delete it"
        )


def check_unused(conf: Conf, volume: Volume) -> None:
    """Refuse a volume that something relies on.

    :raises InUse: names what uses it and what to do.
    """
    users = [database.name for database in conf.databases.values() if _uses(database, volume)]
    if users:
        raise InUse(
            f"volume {volume.name!r} is used by database {', '.join(users)}; delete the database first (db_delete)"
        )
    for database in conf.databases.values():
        if database.wal_archive_volume == volume.name:
            raise InUse(
                f"volume {volume.name!r} keeps the WAL of database {database.name}; end that first: stop the database "
                "and give db_configure an empty wal_archive_volume"
            )
        for schedule in database.backups.values():
            if schedule.volume in (volume.name, str(volume.id)):
                raise InUse(
                    f"volume {volume.name!r} takes the backups of schedule {schedule.name!r} of database "
                    f"{database.name}; remove the schedule first (db_backup_remove_schedule)"
                )
    if conf.logging.remote_log_rotation_volume == volume.name:
        raise InUse(
            f"volume {volume.name!r} takes rotated logs; change RemoteLogRotationVolume first (general_settings)"
        )


def align(volume: Volume) -> Volume:
    """Fill up the last block of a volume."""
    blocks = -(-volume.size // volume.block_size)
    return msgspec.structs.replace(volume, size=Bytes(blocks * volume.block_size))


def _uses(database: Database, volume: Volume) -> bool:
    return volume.name in (database.data_volume, database.snapshot_volume, database.cloud_data_volume)


def _usable(disks: dict[str, Disk]) -> list[str]:
    return [name for name, disk in disks.items() if disk.devices]
