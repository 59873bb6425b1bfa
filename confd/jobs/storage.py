"""Storage of the cluster: volumes over the disks of nodes."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from confd.exaconf import Volume, VolumeType, key_of
from confd.jobs import locks
from confd.jobs.observing import check_not_written, free_devices, observe
from confd.jobs.shelves import warn_of_backups, warn_of_wal
from confd.jobs.types import (
    BlockSize,
    Count,
    DiskName,
    NewVolumeName,
    NodeIds,
    Owner,
    PartSize,
    Permissions,
    Port,
    Priority,
    Size,
    VolumeAlias,
    VolumeId,
)
from confd.jobs.volumes import (
    align,
    check_caller,
    check_disk,
    check_name_free,
    check_ports,
    check_shape,
    check_unused,
    find_volume,
)
from confd.model.errors import NotFound
from confd.model.sizes import parse_size
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, Allow, Substitute, job
from confd.services.access.accounts import find_owner
from confd.services.storage.description import (
    all_volumes,
    describe_volume,
    describe_volumes,
    shape_of,
    with_texts,
)
from confd.services.storage.inventory import describe_nodes
from confd.services.storage.placement import place
from confd.services.storage.places import node_devices
from confd.services.storage.segments import create_segment, delete_segment
from confd.services.storage.shortage import shortage

ALL_VOLUMES: Final = "all_volumes"
DEFAULT_PART_SIZE: Final = "4 GiB"

_STORAGE: Final = Allow(users=("root",), groups=("root", "exastoradm", "exaadm"))
_NUMBER_OR_NAME: Final = Substitute("vid", "vname")


@job(
    MODIFY,
    allow=Allow(groups=("root", "exaadm", "exadbadm")),
    locks=[
        locks.volume("name"),
        locks.ids("volume"),
        locks.space("nodes", "disk"),
        locks.node("nodes", share=True),
        locks.owner("owner"),
    ],
)
def st_volume_create(
    ctx: Context,
    name: NewVolumeName,
    type: VolumeType,  # noqa: A002 - the documented name
    disk: DiskName,
    size: Size,
    nodes: NodeIds,
    redundancy: Count,
    *,
    owner: Owner = (500, 500),
    num_master_nodes: Count | None = None,
    block_size: BlockSize | None = None,
    stripe_size: BlockSize | None = None,
    partition_size: PartSize = DEFAULT_PART_SIZE,
    permissions: Permissions = "rwx",
    shared: bool = True,
    priority: Priority = "10",
    http_port: Port | None = None,
    https_port: Port | None = None,
    ftp_port: Port | None = None,
    ftps_port: Port | None = None,
    sftp_port: Port | None = None,
) -> dict[str, int]:
    """Create a data or archive volume and return its id.

    A data volume takes its size on every node, because each holds a full copy. An archive volume takes its size times
    its redundancy, spread over the nodes. The space is reserved at once.

    :param name: Name of the new volume.
    :param type: What the volume is for: data holds databases, archive holds files such as backups.
    :param disk: Disk (device group) that must exist on all nodes of the volume.
    :param size: Net size with unit, such as '1 GiB' or '2 TiB'.
    :param nodes: Node ids; nodes that only hold further copies stand at the end.
    :param redundancy: Copies of each segment; 1 is no further copy.
    :param owner: [uid, gid] or [user name, group name].
    :param num_master_nodes: Number of nodes with master segments; all of them when left out.
    :param block_size: Size of a block; 4 KiB for data, 64 KiB for archives.
    :param stripe_size: Size of a stripe; 256 KiB for data, 64 KiB for archives.
    :param partition_size: Largest part of a file in an archive volume.
    :param permissions: Access of owner, group and others.
    :param shared: May several clients write at once?
    :param priority: I/O priority, from 0 (highest) to 20 (lowest).
    :param http_port: HTTP port of an archive volume.
    :param https_port: HTTPS port of an archive volume.
    :param ftp_port: FTP port of an archive volume.
    :param ftps_port: FTPS port of an archive volume.
    :param sftp_port: SFTP port of an archive volume.

    Examples:
    {name: new_vol0, type: data, disk: default, size: 1 GiB, nodes: [11], redundancy: 1}
    {name: DataVolume1, disk: disk1, type: data, size: 1 TiB, num_master_nodes: 4, nodes: [11, 12, 13, 14], redundancy: 2, owner: [500, 500]}
    {name: LocalArchiveVolume1, disk: disk1, type: archive, size: 2 TiB, num_master_nodes: 4, nodes: [11, 12, 13, 14], redundancy: 2, block_size: 512 KiB, stripe_size: 512 KiB, partition_size: 274877906944, shared: true, owner: [500, 500]}
    {name: new_archive, disk: default, type: archive, size: 10 GiB, nodes: [11], redundancy: 1, owner: [500, 500], ftp_port: 2021}
    {name: arc_vol, disk: disk1, type: archive, size: 100 GiB, nodes: [11, 12, 23, 24], redundancy: 2, num_master_nodes: 2}

    """  # noqa: E501 - one example per line
    check_name_free(ctx.committed, name)
    check_ports(VolumeType(type), http=http_port, https=https_port, ftp=ftp_port, ftps=ftps_port, sftp=sftp_port)
    volume = align(
        Volume(
            name=name,
            type=VolumeType(type),
            size=parse_size(size),
            disk=disk,
            nodes=tuple(nodes),
            num_master_nodes=num_master_nodes or len(nodes),
            redundancy=redundancy,
            block_size=parse_size(block_size or 0),
            stripe_size=parse_size(stripe_size or 0),
            partition_size=parse_size(partition_size) if type == VolumeType.ARCHIVE else None,
            owner=find_owner(ctx.conf, owner),
            permissions=permissions,
            shared=shared,
            priority=int(priority),
        )
    )
    if volume.partition_size is None and partition_size != DEFAULT_PART_SIZE:
        ctx.warn("partition_size has no effect on a data volume: only files of archive volumes are cut into parts")
    check_shape(volume)
    check_disk(ctx.conf, volume)
    return {"vid": _create(ctx, volume)}


@job(READ, allow=_STORAGE, substitutes=[_NUMBER_OR_NAME])
def st_volume_info(
    ctx: Context,
    vid: Annotated[VolumeId, Rule(also=(ALL_VOLUMES,))] | None,
    *,
    vname: VolumeAlias | None = None,
) -> dict[str, Any]:
    """Describe a volume with its segments.

    :param vid: Id of the volume; 'all_volumes' describes all of them, by id.

    Examples:
    {vname: DataVolume1}
    {vid: 0}

    """
    observed = observe(ctx)
    if _is_all(vid):
        described = describe_volumes(ctx.committed, observed)
        return {volume["id"] or volume["name"]: with_texts(volume) for volume in described}
    for volume in all_volumes(ctx.committed, observed):
        if (vname is None and volume.id == vid) or volume.name == vname:
            return with_texts(describe_volume(ctx.committed, observed, volume))
    find_volume(ctx.committed, vid, vname)
    raise NotFound(f"There is no volume {vid if vname is None else vname!r}")


@job(READ, allow=_STORAGE)
def st_volume_list(ctx: Context) -> list[dict[str, Any]]:
    """Describe all volumes on disks of nodes, temporary volumes of running databases included.

    Examples:
    {}

    """
    return describe_volumes(ctx.committed, observe(ctx))


@job(MODIFY, allow=_STORAGE, locks=locks.volume("vname", "vid"), substitutes=[_NUMBER_OR_NAME])
def st_volume_delete(ctx: Context, vid: VolumeId | None, *, vname: VolumeAlias | None = None) -> None:
    """Delete a volume with all it holds and free its space.

    Only its owner, root and members of exaadm may do so. A volume that something uses is kept; backups go with an
    archive volume, and a warning names the databases that could have been restored from them (dry_run shows it before);
    archived WAL goes as well, and is told of in the same way.

    Examples:
    {vname: DataVolume1}
    {vid: 0}

    """
    volume = find_volume(ctx.committed, vid, vname)
    check_caller(ctx.caller, volume)
    check_unused(ctx.committed, volume)
    check_not_written(ctx, volume)
    warn_of_backups(ctx, volume)
    warn_of_wal(ctx, volume)
    ctx.conf.delete(key_of(Volume, volume.name))
    if volume.id is None:
        return
    for node in volume.nodes:
        if devices := _devices(ctx, node, volume.disk):
            ctx.settle(delete_segment.on(node, vid=volume.id, devices=devices))


@job(READ, allow=_STORAGE)
def st_node_list(ctx: Context) -> dict[str, Any]:
    """Describe the storage of all nodes: disks, devices, free space; by logical number.

    Nodes of which as much is used as their space_warn_threshold says are named in warnings.

    Examples:
    {}

    """
    observed = observe(ctx, fresh=True)
    for node, devices in observed.devices.items():
        if short := shortage(ctx.committed, node, devices):
            ctx.warn(short)
    return describe_nodes(ctx.committed, observed)


def _create(ctx: Context, volume: Volume) -> int:
    devices = free_devices(ctx, list(volume.nodes), volume.disk)
    plan = place(shape_of(volume), volume.disk, devices)
    vid = ctx.next_number("volume", 0)
    ctx.run_all(
        [
            (
                create_segment.on(node, volume=volume.name, vid=vid, maker=ctx.job_id, extents=extents),
                delete_segment.on(node, vid=vid, devices=_devices(ctx, node, volume.disk), maker=ctx.job_id),
            )
            for node, extents in plan.items()
        ]
    )
    ctx.conf.put(msgspec.structs.replace(volume, id=vid))
    return vid


def _devices(ctx: Context, node: int, disk: str) -> list[str]:
    return [device for _, device in node_devices(ctx.committed, node, disk)]


def _is_all(vid: object) -> bool:
    return vid == ALL_VOLUMES
