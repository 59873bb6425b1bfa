"""Nodes of the cluster: their configuration, and what they are doing now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec

from confd.cluster.leading.member import TROUBLE
from confd.exaconf import Configuration, Disk, Docker, Node
from confd.jobs.observing import ask
from confd.jobs.types import NodeId
from confd.model.errors import NodeOffline
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.registry import READ, Allow, job
from confd.services.etcd.members import EtcdMembers
from confd.services.nodes.machine import Machine, machine
from confd.services.storage.shortage import shortage
from confd.services.storage.space import DeviceStatus

_ADMINISTRATORS: Final = Allow(groups=("root", "exaadm"))
_EMPTY: Final[tuple[Any, ...]] = (None, "", (), [], {})


@job(READ, allow=_ADMINISTRATORS)
def node_list(ctx: Context) -> dict[str, Any]:
    """Return all configured nodes with their options by id; options without a value are left out.

    Examples:
    {}
    """
    return {str(node.id): _configured(ctx.committed, node) for node in ctx.conf.nodes.values()}


@job(READ, allow=_ADMINISTRATORS)
def node_state(ctx: Context) -> dict[str, Any]:
    """Return the present state of every node, and under 'booted' when it came up.

    States are online, offline and suspended.

    Examples:
    {}
    """
    states = {str(node): str(state) for node, state in sorted(ctx.cluster.node_states().items())}
    booted = {node: text for node in states if (text := _booted(ctx, int(node)))}
    return {**states, "booted": booted}


@job(READ, allow=_ADMINISTRATORS)
def node_info(ctx: Context, nid: NodeId) -> dict[str, Any]:
    """Describe a node as it is now; of one that is not online, what is known without asking it, and why under 'info'.

    There it also says when the node is short of storage, or does not run the member of etcd that it should run.

    :param nid: Id of the node.

    Examples:
    {nid: 13}
    """
    node = ctx.conf.require_node(nid)
    state = ctx.cluster.node_states().get(nid, NodeState.OFFLINE)
    known = {
        "id": node.id,
        "name": node.name,
        "state": str(state),
        "platform": ctx.conf.global_.platform,
        "private_net": node.private_net,
        "affinity": node.affinity,
        "uuid": node.uuid,
        "booted": _booted(ctx, nid),
        "info": " ".join(_troubles(ctx, nid)),
    }
    if ctx.cluster.status(nid, "nodes") is not None:
        # A node that falls silent at this moment is shown like one that is away.
        with suppress(NodeOffline):
            known |= _running(ask(ctx, machine.on(nid)))
    return _filled(known)


def _troubles(ctx: Context, node: int) -> Iterator[str]:
    """Give what is wrong with a node: as the master sees it, as the node says itself, and what it is short of."""
    storage = msgspec.convert(ctx.cluster.status(node, "storage") or [], list[DeviceStatus])
    told = ctx.cluster.status(node, "nodes") or {}
    found = (
        ctx.cluster.status(node, TROUBLE),
        told.get("trouble"),
        ctx.service(EtcdMembers).trouble(node),
        shortage(ctx.committed, node, storage),
    )
    return (trouble for trouble in found if trouble)


def _running(told: Machine) -> dict[str, Any]:
    return {
        "cored": {"version": told.version, "uptime": _clock(told.uptime)},
        "load": [round(load, 2) for load in told.load],
        "system": told.system,
        "processors": told.processors,
    }


def _configured(conf: Configuration, node: Node) -> dict[str, Any]:
    docker = conf.get(Docker.kind)
    root = docker.root_dir if isinstance(docker, Docker) else "/exa/etc"
    return _filled(
        {
            "id": str(node.id),
            "name": node.name,
            "private_net": node.private_net,
            "private_ip": node.private_ip,
            "public_net": node.public_net,
            "public_ip": node.public_ip,
            "affinity": node.affinity,
            "uuid": node.uuid,
            "state": node.state,
            "docker_volume": f"{root}/{node.docker_volume}" if node.docker_volume else "",
            "exposed_ports": [list(pair) for pair in node.exposed_ports],
            "space_warn_threshold": node.space_warn_threshold,
            "bg_rec_limit": node.bg_rec_limit,
            "no_partition_extend": node.no_partition_extend or None,
            "disks": {name: _disk(disk) for name, disk in node.disks.items()},
        }
    )


def _disk(disk: Disk) -> dict[str, Any]:
    return _filled(
        {
            "name": disk.name,
            "component": str(disk.component),
            "devices": list(disk.devices),
            "drives": list(disk.drives),
            "mapping": list(disk.mapping),
            "ephemeral": disk.ephemeral,
            "direct_io": disk.direct_io,
        }
    )


def _filled(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in _EMPTY}


def _booted(ctx: Context, node: int) -> str:
    reported = ctx.cluster.status(node, "nodes")
    return time.ctime(reported["booted"]) if reported else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
