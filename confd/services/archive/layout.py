"""What an archive volume is made of, as plain data that a worker process can be given. Pure."""

from __future__ import annotations

import msgspec

from confd.exaconf import Configuration, Volume, VolumeType
from confd.model.errors import InvalidParameter
from confd.services.storage.description import shape_of
from confd.services.storage.placement import segments
from confd.services.storage.places import node_devices

PARTITION_SIZE = 4 << 30


class Share(msgspec.Struct, frozen=True):
    """A part of the volume's space: bytes that every one of its nodes has reserved for it."""

    size: int
    nodes: tuple[int, ...]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files of an archive volume can lie; sizes in bytes.

    ``devices`` are the names of the devices of the volume's disk by node, ``addresses`` and ``port`` lead to the node
    ports.
    """

    id: int
    name: str
    stripe: int
    partition: int
    shares: tuple[Share, ...]
    devices: dict[int, tuple[str, ...]]
    addresses: dict[int, str] = {}
    port: int = 0

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nodes that hold something, in the order in which indexes are written."""
        return tuple(sorted({node for share in self.shares for node in share.nodes}))

    def shares_of(self, node: int) -> dict[int, int]:
        """Return the shares of a node with their sizes."""
        return {number: share.size for number, share in enumerate(self.shares) if node in share.nodes}


def layout_of(conf: Configuration, name: str) -> Layout:
    """Return the layout of an archive volume.

    :raises NotFound: there is no such volume.
    :raises InvalidParameter: it is no archive volume.
    """
    volume = conf.require_volume(name)
    if not is_archive(volume) or volume.id is None:
        raise InvalidParameter(f"volume {name!r} holds databases, not files; choose an archive volume (st_volume_list)")
    shares = shares_of(volume)
    nodes = sorted({node for share in shares for node in share.nodes})
    return Layout(
        id=volume.id,
        name=name,
        stripe=volume.stripe_size,
        partition=volume.partition_size or PARTITION_SIZE,
        shares=shares,
        devices={node: tuple(device for _, device in node_devices(conf, node, volume.disk)) for node in nodes},
        addresses={node: conf.nodes[node].private_ip for node in nodes if node in conf.nodes},
        port=conf.global_.cored_port,
    )


def is_archive(volume: Volume) -> bool:
    """Tell whether a volume holds files."""
    return volume.type is VolumeType.ARCHIVE and volume.id is not None


def shares_of(volume: Volume) -> tuple[Share, ...]:
    """Return the shares of a volume."""
    parts = segments(shape_of(volume))
    return tuple(
        Share(
            next(part.blocks for part in parts if part.index == index) * volume.block_size,
            tuple(part.node for part in parts if part.index == index),
        )
        for index in range(volume.num_master_nodes)
    )
