"""Volumes and storage nodes as jobs describe them. Pure.

The types of the fields are what clients rely on: ids of volumes and blocks of segments are texts, ids of nodes and
owners are numbers, sizes of blocks are numbers in a list and texts in the description of one volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from confd.exaconf import Configuration, Volume, VolumeType
from confd.model.sizes import Bytes, format_size
from confd.model.states import DeviceState, NodeState, SegmentType, VolumeState
from confd.services.storage.placement import Segment, Shape, segments
from confd.services.storage.places import node_devices
from confd.services.storage.space import DeviceStatus

TEMPORARY_SIZE: Final = Bytes(2**30)
_FIRST_PARTITION: Final = 30


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A database as a user of volumes: where it is active, its primary, its temporary volume while it runs.

    ``behind``: nodes whose copy is being made or catches up.
    """

    name: str
    active: tuple[int, ...]
    primary: int | None = None
    running: bool = False
    temporary: int | None = None
    behind: tuple[int, ...] = ()


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive volume holds: bytes of files (one copy counted), None when nobody says.

    ``behind``: nodes that miss copies of files, or have damaged ones; ``recovering`` while they get them.
    """

    used: int | None = None
    behind: tuple[int, ...] = ()
    recovering: bool = False


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What is so now: node states, devices by node, databases, contents of archive volumes by name."""

    states: Mapping[int, NodeState]
    devices: Mapping[int, Sequence[DeviceStatus]]
    users: tuple[User, ...] = ()
    contents: Mapping[str, Content] = {}

    def online(self, node: int, disk: str) -> bool:
        """Tell whether a node's part of a disk can be used."""
        known = [device for device in self.devices.get(node, ()) if device.disk == disk]
        damaged = any(device.state is not DeviceState.ONLINE for device in known)
        return self.states.get(node) is NodeState.ONLINE and not damaged


def shape_of(volume: Volume) -> Shape:
    """Return what decides the segments of a volume."""
    return Shape(
        type=volume.type,
        size=volume.size,
        nodes=volume.nodes,
        masters=volume.num_master_nodes,
        redundancy=volume.redundancy,
        block_size=volume.block_size,
    )


def volume_state(volume: Volume, missing: Iterable[int], primary: int | None) -> VolumeState:
    """Judge a volume by the nodes it misses.

    A data volume whose primary is there has all its data, whatever else is missing. Otherwise as many nodes may be
    missing as there are further copies.
    """
    gone = set(missing)
    if not gone:
        return VolumeState.ONLINE
    if primary is not None and primary not in gone:
        return VolumeState.DEGRADED
    if volume.type is VolumeType.ARCHIVE:
        return VolumeState.LOCKED if _lost_share(volume, gone) else VolumeState.DEGRADED
    return VolumeState.LOCKED if len(gone) >= volume.redundancy else VolumeState.DEGRADED


def describe_volumes(conf: Configuration, observed: Observed) -> list[dict[str, Any]]:
    """Describe all volumes, temporary ones of running databases included, by id."""
    known = sorted(all_volumes(conf, observed), key=lambda volume: (volume.id is None, volume.id, volume.name))
    return [describe_volume(conf, observed, volume) for volume in known]


def all_volumes(conf: Configuration, observed: Observed) -> list[Volume]:
    """Return the volumes of the configuration and the temporary ones of running databases."""
    return [*conf.volumes.values(), *(volume for user in observed.users for volume in _temporary(conf, user))]


def describe_volume(conf: Configuration, observed: Observed, volume: Volume) -> dict[str, Any]:
    """Describe a volume with block sizes in bytes, as lists do."""
    missing = [node for node in volume.nodes if not observed.online(node, volume.disk)]
    user = _user_of(conf, observed, volume)
    state = volume_state(volume, missing, user.primary if user else None)
    content = observed.contents.get(volume.name, Content())
    behind = _behind(conf, volume, user, content)
    if state is VolumeState.ONLINE and behind:
        state = next(iter(behind.values()))
    parts = [
        _describe_segment(conf, volume, sid, part, missing, behind) for sid, part in enumerate(_segments(volume, user))
    ]
    return {
        "app_io_enabled": True,
        "block_distribution": "vertical",
        "block_size": int(volume.block_size),
        "bytes_per_block": int(volume.block_size),
        "group": volume.owner[1],
        "hdd_type": volume.disk,
        "hdds_per_node": 1,
        "id": _text(volume.id),
        "int_io_enabled": True,
        "labels": _labels(conf, observed, volume),
        "name": volume.name,
        "nodes_list": [{"id": node, "unrecovered_segments": _unrecovered(parts, node)} for node in volume.nodes],
        "num_master_nodes": volume.num_master_nodes,
        "owner": volume.owner[0],
        "permissions": volume.permissions.ljust(9, "-"),
        "priority": volume.priority,
        "redundancy": volume.redundancy,
        "segments": parts,
        "shared": volume.shared,
        "size": format_size(volume.size),
        "snapshots": [],
        "state": str(state),
        "stripe_size": int(volume.stripe_size),
        "type": str(SegmentType.MASTER),
        "unlock_conditions": _unlock_conditions(state, missing),
        "use_crc": True,
        "users": [[partition_id(conf, user.name), False]] if user and user.running else [],
        "volume_nodes": list(volume.nodes),
        **_usage(volume, content),
    }


def with_texts(described: dict[str, Any]) -> dict[str, Any]:
    """Return the description of one volume, where block sizes are texts."""
    return described | {key: format_size(described[key]) for key in ("block_size", "stripe_size")}


def partition_id(conf: Configuration, database: str) -> int:
    """Return the number under which a database has its volumes open."""
    return _FIRST_PARTITION + sorted(conf.databases).index(database)


def logical_nodes(conf: Configuration) -> dict[int, int]:
    """Number the storage nodes: physical id to logical number, counted from 0."""
    storage = [node for node in sorted(conf.nodes) if node_devices(conf, node)]
    return {node: number for number, node in enumerate(storage)}


def _describe_segment(
    conf: Configuration,
    volume: Volume,
    sid: int,
    segment: Segment,
    missing: Sequence[int],
    behind: Mapping[int, VolumeState],
) -> dict[str, Any]:
    state: DeviceState | VolumeState = behind.get(segment.node, DeviceState.ONLINE)
    if segment.node in missing:
        state = DeviceState.OFFLINE
    return {
        "end_block": str(segment.end),
        "index": str(segment.index),
        "nid": logical_nodes(conf).get(segment.node, -1),
        "partitions": [],
        "phys_nid": segment.node,
        "sid": str(sid),
        "start_block": str(segment.start),
        "state": str(state),
        "type": str(segment.type),
        "vid": _text(volume.id),
    }


def _behind(conf: Configuration, volume: Volume, user: User | None, content: Content) -> dict[int, VolumeState]:
    """Return the nodes that do not hold what they should, and whether they are getting it."""
    if volume.type is VolumeType.ARCHIVE:
        state = VolumeState.RECOVERING if content.recovering else VolumeState.DEGRADED
        return dict.fromkeys(content.behind, state)
    # Temporary volumes have no copies.
    nodes = user.behind if user and user.running and volume.name in conf.volumes else ()
    return dict.fromkeys(nodes, VolumeState.RECOVERING)


def _usage(volume: Volume, content: Content) -> dict[str, str]:
    if volume.type is not VolumeType.ARCHIVE or content.used is None:
        return {}
    return {"used": format_size(content.used), "free": format_size(volume.size - content.used)}


def _segments(volume: Volume, user: User | None) -> list[Segment]:
    parts = segments(shape_of(volume))
    if volume.type is VolumeType.ARCHIVE or user is None or not set(user.active) & set(volume.nodes):
        return parts
    # What a reserve node took over is a master there.
    kinds = {node: SegmentType.MASTER if node in user.active else SegmentType.REDUNDANT for node in volume.nodes}
    return [msgspec.structs.replace(part, type=kinds[part.node]) for part in parts]


def _temporary(conf: Configuration, user: User) -> list[Volume]:
    database = conf.databases.get(user.name)
    data = conf.volumes.get(database.data_volume) if database else None
    if database is None or user.temporary is None or not user.running:
        return []
    return [
        Volume(
            name=f"v{user.temporary:04d}",
            type=VolumeType.DATA,
            size=TEMPORARY_SIZE,
            disk=data.disk if data else "",
            nodes=user.active,
            owner=database.owner,
            labels=("temporary", f"pub:{user.name}_temporary"),
            id=user.temporary,
        )
    ]


def _labels(conf: Configuration, observed: Observed, volume: Volume) -> list[str]:
    if volume.name not in conf.volumes:
        return list(volume.labels)
    using = [database.name for database in conf.databases.values() if database.data_volume == volume.name]
    return [f"#Name#{volume.name}", *(f"pub:{name}_persistent" for name in using), *volume.labels]


def _user_of(conf: Configuration, observed: Observed, volume: Volume) -> User | None:
    databases = {user.name: user for user in observed.users}
    if volume.name not in conf.volumes:
        return next((user for user in observed.users if user.temporary == volume.id), None)
    using = [name for name, database in conf.databases.items() if database.data_volume == volume.name]
    known = [databases[name] for name in using if name in databases]
    return next((user for user in known if user.running), known[0] if known else None)


def _lost_share(volume: Volume, gone: set[int]) -> bool:
    parts = segments(shape_of(volume))
    return any({part.node for part in parts if part.index == index} <= gone for index in range(volume.num_master_nodes))


def _unrecovered(parts: Sequence[dict[str, Any]], node: int) -> int:
    return sum(part["phys_nid"] == node and part["state"] != DeviceState.ONLINE for part in parts)


def _unlock_conditions(state: VolumeState, missing: Sequence[int]) -> list[str]:
    return [f"n{node} is back" for node in missing] if state is VolumeState.LOCKED else []


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
