"""Where the segments of a volume go. Pure.

A data volume has a full copy on every node, each on one device, because an instance's data directory cannot be cut.
An archive volume is cut into as many shares as it has master nodes; each share has ``redundancy`` copies on different
nodes, and may use several devices of a disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from confd.exaconf import VolumeType
from confd.model.errors import InsufficientSpace
from confd.model.sizes import format_size
from confd.model.states import SegmentType
from confd.services.storage.places import device_name
from confd.services.storage.segments import Extent
from confd.services.storage.space import DeviceStatus


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the segments of a volume."""

    type: VolumeType
    size: int
    nodes: tuple[int, ...]
    masters: int
    redundancy: int
    block_size: int

    @property
    def blocks(self) -> int:
        """Blocks of the volume, the last one filled up."""
        return -(-self.size // self.block_size)


class Segment(msgspec.Struct, frozen=True):
    """One part of a volume on a node: blocks ``start`` to ``end``, both included."""

    index: int
    node: int
    type: SegmentType
    start: int
    end: int

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.end - self.start + 1


def segments(shape: Shape) -> list[Segment]:
    """Return the segments of a volume, masters first.

    Invariants: copies of one share lie on different nodes; the masters of an archive volume cover every block exactly
    once; a data volume has all blocks on each of its nodes.
    """
    if shape.type is VolumeType.DATA:
        return _full_copies(shape)
    return [_share(shape, index, copy) for copy in range(shape.redundancy) for index in range(shape.masters)]


def needs(shape: Shape) -> dict[int, int]:
    """Return the bytes that each node has to have free."""
    wanted = dict.fromkeys(shape.nodes, 0)
    for segment in segments(shape):
        wanted[segment.node] += segment.blocks * shape.block_size
    return wanted


def place(shape: Shape, disk: str, devices: Mapping[int, Sequence[DeviceStatus]]) -> dict[int, list[Extent]]:
    """Choose the devices of each node.

    Invariants: the extents of a node add up to what it needs; no device gets more than it has free.

    :param devices: the devices of the disk on each node.
    :raises InsufficientSpace: names node, disk, what is free and what is needed.
    """
    wanted = (node for node, size in needs(shape).items() if size)
    return {node: place_on(shape, node, disk, devices.get(node, ())) for node in wanted}


def place_on(shape: Shape, node: int, disk: str, devices: Sequence[DeviceStatus]) -> list[Extent]:
    """Choose the devices of one node.

    :param devices: those of the disk on that node.
    :raises InsufficientSpace: names node, disk, what is free and what is needed.
    """
    wanted = needs(shape)[node]
    extents = _extents(shape, wanted, sorted(devices, key=lambda device: -device.free))
    _check(shape, node, disk, wanted, devices, extents)
    return extents


def _full_copies(shape: Shape) -> list[Segment]:
    return [
        Segment(
            index,
            node,
            SegmentType.MASTER if index < shape.masters else SegmentType.REDUNDANT,
            0,
            shape.blocks - 1,
        )
        for index, node in enumerate(shape.nodes)
    ]


def _share(shape: Shape, index: int, copy: int) -> Segment:
    # With enough nodes the copies lie on nodes without masters (the second site), otherwise on the next ones.
    step = shape.masters if len(shape.nodes) >= shape.masters * shape.redundancy else 1
    node = shape.nodes[(index + copy * step) % len(shape.nodes)]
    start, end = (shape.blocks * at // shape.masters for at in (index, index + 1))
    return Segment(index, node, SegmentType.REDUNDANT if copy else SegmentType.MASTER, start, end - 1)


def _extents(shape: Shape, wanted: int, devices: Sequence[DeviceStatus]) -> list[Extent]:
    """Take the device with most space, and further ones where the volume can be cut."""
    usable = devices if shape.type is VolumeType.ARCHIVE else devices[:1]
    extents: list[Extent] = []
    for device in usable:
        size = min(wanted, device.free)
        if size:
            extents.append(Extent(device_name(device.name), size))
            wanted -= size
    return extents


def _check(
    shape: Shape,
    node: int,
    disk: str,
    wanted: int,
    devices: Sequence[DeviceStatus],
    extents: Sequence[Extent],
) -> None:
    placed, free = sum(extent.size for extent in extents), sum(device.free for device in devices)
    if placed == wanted:
        return
    more = "; delete volumes or add a device with st_device_add"
    if shape.type is VolumeType.DATA and free >= wanted:
        more = f", on one device {format_size(placed)}; a data volume needs its space on one device of a node"
    raise InsufficientSpace(
        f"disk {disk} of n{node} has {format_size(free)} free, needed are {format_size(wanted)}{more}"
    )
