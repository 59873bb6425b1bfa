"""What a machine is given to make a node of, and making it: directories, keys, identity, first device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from confd.cluster.identity import Identity, NodeFiles, at_home, write_private
from confd.model.errors import InsufficientSpace
from confd.play import home
from confd.play.firstconf import DEVICE, DISK, new_uuid
from confd.play.record import PlayNode
from confd.services.database.engine.installation import Installation

_SHARE: Final = 0.8
_SECTOR: Final = 4096
_LEAST: Final = 2 << 30
# The databases' user passes through some directories, and has no business in others.
_PASSABLE: Final = ("etc", "data/storage", "logs", "metadata")
_PRIVATE: Final = ("etc/cluster", "etc/ssl", "logs/logd", "metadata/confd", "spool")
_BOOTSTRAP: Final = "etc/bootstrap.json"


class NodeKit(msgspec.Struct, frozen=True, kw_only=True):
    """A node before it lies anywhere.

    ``members`` are the UUIDs of all nodes, ``files`` further private files by their path below the root
    (``portable`` ones). ``disk`` says
    whether it gets a first device now, ``bootstrap`` is what the first master begins the cluster with.
    """

    cluster: str
    node: int
    uuid: str
    address: str
    port: int
    members: tuple[str, ...]
    ca: bytes
    certificate: bytes
    key: bytes
    data_key: bytes
    files: dict[str, bytes]
    disk: bool
    bootstrap: bytes | None = None


class Ground(msgspec.Struct, frozen=True):
    """What a machine gives its nodes: the databases' user, PostgreSQL, and sectors of the file system for each."""

    user: str | None
    engine: Installation
    sectors: int


def make_node(kit: NodeKit, node: PlayNode, ground: Ground) -> None:
    """Make the files of a node; its daemon can be started then."""
    for name in _PASSABLE:
        home.make_passable(node.root / name)
    for name in _PRIVATE:
        (node.root / name).mkdir(mode=0o700)
    home.make_runtime([node])
    files = NodeFiles(node.root)
    known = {
        files.ca: kit.ca, files.certificate: kit.certificate, files.key: kit.key, files.data_key: kit.data_key,
        node.root / "etc/node_uuid": kit.uuid.encode(),
    }  # fmt: skip
    known |= {node.root / name: at_home(content, node.root) for name, content in kit.files.items()}
    for path, content in known.items():
        write_private(path, content)
    if kit.bootstrap is not None:
        write_private(node.root / _BOOTSTRAP, kit.bootstrap)
    identity = Identity(
        cluster=kit.cluster, node=kit.node, uuid=kit.uuid, address=kit.address, port=kit.port,
        runtime=str(node.runtime), database_user=ground.user, installations=(ground.engine.prefix,),
        bootstrap=None if kit.bootstrap is None else str(node.root / _BOOTSTRAP), members=kit.members,
    )  # fmt: skip
    files.write_identity(identity)
    if kit.disk:
        _add_device(node, ground)


def share_of_disk(place: Path, nodes: int) -> int:
    """Return the sectors that each of several nodes gets of the file system they share.

    :raises InsufficientSpace: it is too little.
    """
    existing = next(path for path in (place, *place.parents) if path.exists())
    system = os.statvfs(existing)
    share = int(system.f_bavail * system.f_frsize * _SHARE) // nodes
    if share < _LEAST:
        raise InsufficientSpace(
            f"the file system of {place} has too little free space for {nodes} nodes, at least "
            "2 GiB each: free some, or set CCC_HOME to a place on another one"
        )
    return share // _SECTOR


def _add_device(node: PlayNode, ground: Ground) -> None:
    # Loaded where a disk is made: a node that joins gets its device by the cluster.
    from confd.cluster.host import Host
    from confd.exaconf import Conf
    from confd.services.storage.devices import NewDevice, add_device

    engines = (Path(ground.engine.prefix),)
    host = Host(node.node, node.address, node.root, node.runtime, ground.user, engines, lambda: Conf(0, {}))
    device = NewDevice(name=DEVICE, disk=DISK, uuid=new_uuid(), sector_size=_SECTOR, sectors=ground.sectors)
    add_device.function(host, device)
