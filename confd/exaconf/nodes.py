"""Nodes and their disks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

import msgspec

from confd.exaconf.codecs import PERCENT, within
from confd.exaconf.fields import Key, Name, Parts
from confd.exaconf.section import Entry, Form, Section

FIRST_NODE: Final = 11
SUSPENDED: Final = "suspended"
DISABLED: Final = "disabled"
_BY_ID: Final = -1


class Component(StrEnum):
    """What a disk is for."""

    EXASTORAGE = "exastorage"
    DB = "db"
    SWAP = "swap"


class Disk(Entry, frozen=True):
    """A named group of devices of a node; device paths are absolute or relative to /exa/data/storage."""

    name: Annotated[str, Name()]
    component: Annotated[Component, Key("Component")] = Component.EXASTORAGE
    devices: Annotated[tuple[str, ...], Key("Devices")] = ()
    drives: Annotated[tuple[str, ...], Key("Drives", optional=True)] = ()
    mapping: Annotated[tuple[str, ...], Key("Mapping", optional=True)] = ()
    ephemeral: Annotated[bool, Key("Ephemeral", optional=True)] = False
    direct_io: Annotated[bool, Key("DirectIO", optional=True)] = True


class Node(Section, frozen=True):
    """A member of the cluster.

    ``state`` is what an administrator wants of it: ``suspended``, ``disabled`` (suspended, and it stays so when it
    starts), or nothing. ``space_warn_threshold`` (percent), ``bg_rec_limit`` (MiB/s) and ``no_partition_extend`` are
    our own keys.
    """

    kind: ClassVar[str] = "Node"
    form: ClassVar[Form] = Form.NAMED

    id: Annotated[int, Name()]
    name: Annotated[str, Key("Name")] = ""
    private_net: Annotated[str, Key("PrivateNet")] = ""
    public_net: Annotated[str | None, Key("PublicNet")] = None
    affinity: Annotated[int, Key("Affinity")] = _BY_ID
    uuid: Annotated[str, Key("UUID")] = "IMPORT"
    docker_volume: Annotated[str, Key("DockerVolume", optional=True)] = ""
    exposed_ports: Annotated[tuple[tuple[int, int], ...], Key("ExposedPorts", optional=True)] = ()
    private_interface: Annotated[str | None, Key("PrivateInterface", optional=True)] = None
    public_interface: Annotated[str | None, Key("PublicInterface", optional=True)] = None
    state: Annotated[str, Key("State", optional=True)] = ""
    space_warn_threshold: Annotated[int | None, Key("SpaceWarnThreshold", PERCENT, optional=True)] = None
    bg_rec_limit: Annotated[int | None, Key("BgRecLimit", within(1), optional=True)] = None
    no_partition_extend: Annotated[bool, Key("NoPartitionExtend", optional=True)] = False
    disks: Annotated[dict[str, Disk], Parts("Disk")] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "state", self.state.lower())
        if self.affinity == _BY_ID:
            msgspec.structs.force_setattr(self, "affinity", self.id)

    @property
    def suspended(self) -> bool:
        """Whether an administrator took the node out of service."""
        return self.state in (SUSPENDED, DISABLED)

    @property
    def disabled(self) -> bool:
        """Whether the node stays suspended when its daemon starts."""
        return self.state == DISABLED

    @property
    def private_ip(self) -> str:
        """The address in the private network, without the prefix length."""
        return _address(self.private_net, self.id)

    @property
    def public_ip(self) -> str | None:
        """The address in the public network, if there is one."""
        return _address(self.public_net, self.id) if self.public_net else None


def _address(net: str, node_id: int) -> str:
    return net.partition("/")[0].strip().replace("x", str(node_id))
