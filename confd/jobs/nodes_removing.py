"""Nodes that leave the cluster for good."""

from __future__ import annotations

from collections.abc import Sequence

from confd.cluster.operations import MASTER
from confd.exaconf import Database, Volume, VolumeType
from confd.jobs import locks
from confd.jobs.archives import archive_without
from confd.jobs.nodes_standing import (
    MEMBERSHIP,
    OneOrMore,
    check_elsewhere,
    check_movable,
    databases_on,
    elsewhere,
    known,
    master_node,
)
from confd.jobs.nodes_waiting import daemon_of
from confd.jobs.observing import database_record, node_states
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.archive.layout import is_archive
from confd.services.database.record import Wanted
from confd.services.database.supervision.forgetting import forget_node
from confd.services.database.supervision.moving import withdraw
from confd.services.database.supervision.orders import resume
from confd.services.database.supervision.vacating import vacate
from confd.services.etcd.members import RECORD as MEMBERS
from confd.services.etcd.renewing import renew_password
from confd.services.nodes.machine import leave
from confd.services.nodes.naming import RETIRED
from confd.services.nodes.removal import check_primary, check_unused, database_without, volume_without
from confd.services.nodes.standing import check_remove, suspension_key
from confd.services.nodes.stores import Moving
from confd.services.storage.places import node_devices
from confd.services.storage.segments import delete_segment
from confd.store.choice import StoreKind


@job(
    MODIFY,
    allow=Allow(groups=("root", "exaadm")),
    locks=[
        MEMBERSHIP,
        locks.node("nid"),
        locks.databases_of_nodes("nid"),
        locks.volumes_of_nodes("nid"),
        locks.space_of_archives("nid"),
    ],
)
def node_remove(ctx: Context, nid: OneOrMore, *, force: bool = False) -> None:
    """Remove nodes from the cluster for good; their ids are not used again.

    A node that answers cleans up, forgets its keys and ends its daemon. The last copy of anything is never removed. An
    etcd that the nodes run gets a new password.

    :param nid: Id of the node, or a list of ids.
    :param force: Also remove nodes that are suspended, or used by volumes and databases, which lose them then.

    Examples:
    {nid: 12}
    {nid: [12, 13]}
    {nid: 12, force: true}
    """
    nodes, states = known(ctx.conf, nid), node_states(ctx)
    check_remove(ctx.conf.nodes, states, nodes, master_node(ctx), force)
    if not force:
        check_unused(ctx.conf, nodes)
    daemons = {node: started for node in nodes if (started := daemon_of(ctx, node)) is not None}
    using = databases_on(ctx.conf, nodes)
    lost = [volume for volume in ctx.conf.volumes.values() if set(volume.nodes) & set(nodes)]
    smaller = [
        archive_without(ctx, volume, nodes, states) if is_archive(volume) else volume_without(volume, nodes)
        for volume in lost
    ]
    for database in using:
        _leave_database(ctx, database, nodes, states)
    for volume, rest in zip(lost, smaller, strict=True):
        _leave_volume(ctx, volume, rest, using, [node for node in nodes if node in daemons])
    retired = {str(node): ctx.conf.require_node(node).uuid for node in nodes}
    for node in nodes:
        ctx.conf.delete(ctx.conf.require_node(node).key)
        ctx.put_record(suspension_key(node), None)
        if node in daemons:
            ctx.settle(leave.on(node, started=daemons[node], removed=True))
    ctx.put_record(RETIRED, {**(ctx.record(RETIRED) or {}), **retired})
    _shut_out_of_etcd(ctx, nodes)


def _shut_out_of_etcd(ctx: Context, nodes: Sequence[int]) -> None:
    """Have what lets removed nodes into the store be worth nothing, as far as it is the cluster's own."""
    if ctx.record(MEMBERS) is not None:
        ctx.settle(renew_password.on(MASTER))
    elif ctx.learn("present store", lambda: ctx.service(Moving).kind.value) == StoreKind.ETCD:
        names = ", ".join(f"n{node}" for node in nodes)
        ctx.warn(
            f"{names} may still get into etcd, which is not the cluster's own: change the password of the nodes' user "
            "there, see docs/operations.md, Removing a node"
        )


def _leave_database(ctx: Context, database: Database, nodes: Sequence[int], states: dict[int, NodeState]) -> None:
    """Take nodes from a database; a running one moves away from those that are online first."""
    record = database_record(ctx, database.name)
    online = [node for node in nodes if states.get(node) is NodeState.ONLINE]
    running = online if record.wanted is Wanted.RUNNING else []
    check_primary(database, record, nodes, running)
    homes = sorted(elsewhere(ctx.conf, database, nodes, states))
    others = [node for node in database.reserve_nodes if states.get(node) is NodeState.ONLINE and node not in homes]
    if set(nodes) & set(database.nodes):
        changed = database_without(database, nodes, [*homes, *others])
        if changed.num_active_nodes < database.num_active_nodes:
            ctx.warn(f"database {database.name} has {changed.num_active_nodes} active nodes now, no reserve took over")
        ctx.conf.put(changed)
    if running:
        check_movable(database.name, record, running)
        check_elsewhere(ctx.conf, database, nodes, states)
        fresh = [node for node in running if node not in record.suspended]
        undo = resume.on(MASTER, database=database.name, nodes=fresh)
        ctx.run(vacate.on(MASTER, database=database.name, nodes=running), undo=undo)


def _leave_volume(
    ctx: Context, volume: Volume, rest: Volume, using: Sequence[Database], answering: Sequence[int]
) -> None:
    """Take nodes from a volume; what those hold that answer is destroyed once the job cannot go back."""
    gone = [node for node in volume.nodes if node not in rest.nodes]
    if rest.redundancy < volume.redundancy:
        ctx.warn(f"volume {volume.name} has redundancy {rest.redundancy} now: {len(rest.nodes)} nodes are left")
    ctx.conf.put(rest)
    holders = [one.name for one in using if one.data_volume == volume.name and volume.type is VolumeType.DATA]
    for node in gone:
        for database in holders:
            ctx.settle(forget_node.on(MASTER, database=database, left=node))
        if node in answering and volume.id is not None:
            devices = [name for _, name in node_devices(ctx.committed, node, volume.disk)]
            for database in holders:
                ctx.settle(withdraw.on(MASTER, database=database, left=node, vid=volume.id, devices=devices))
            ctx.settle(delete_segment.on(node, vid=volume.id, devices=devices))
