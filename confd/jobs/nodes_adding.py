"""Nodes that are added, and nodes that get other addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from confd.cluster.leading.quorum import quorum_of
from confd.exaconf import Node
from confd.jobs import locks
from confd.jobs.observing import database_record, node_states
from confd.jobs.types import NodeId
from confd.model.errors import MissingParameter, WrongState
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.database.record import Wanted
from confd.services.etcd.members import RECORD as ETCD
from confd.services.nodes.admission import JOINED, TOKENS
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.describing import NewNode, clones, disks_of_clone, read_entries, readdressed, section_of
from confd.services.nodes.naming import (
    MOST_ID,
    RETIRED,
    addresses,
    check_id,
    check_name,
    check_together,
    check_uuids,
    next_ids,
    read_address,
    read_net,
)
from confd.services.nodes.standing import suspension_key

_ADMINISTRATORS: Final = Allow(groups=("root", "exaadm"))
_MEMBERSHIP: Final = locks.ids("node")
_MOST_AT_ONCE: Final = 1000
_NO_PARTITIONS: Final = "no_partition_extend has no effect: there are no partitions that extend themselves to new nodes"

NewNodeId = Annotated[int, Rule(minimum=1, maximum=MOST_ID)]
NewNodeName = Annotated[str, Rule(check=check_name)]
Net = Annotated[str, Rule(check=read_net, form="an address with prefix length, e.g. 10.10.10.11/24")]
Percent = Annotated[int, Rule(minimum=0, maximum=100)]
Throughput = Annotated[int, Rule(minimum=1)]
Descriptions = Annotated[list[dict[str, Any]], Rule(check=read_entries, form="a list of mappings, one per node")]
CloneCount = Annotated[int, Rule(minimum=1, maximum=_MOST_AT_ONCE)]


@job(MODIFY, allow=_ADMINISTRATORS, locks=[_MEMBERSHIP, locks.node("nid")])
def node_add(
    ctx: Context,
    priv_net: Net,
    *,
    nid: NewNodeId | None = None,
    name: NewNodeName | None = None,
    pub_net: Net | None = None,
    offline: bool = False,
    no_partition_extend: bool = False,
    space_warn_threshold: Percent | None = None,
    bg_rec_limit: Throughput | None = None,
) -> int:
    """Add a new machine to the cluster; it starts out suspended and comes into service when its daemon joins.

    It is not given to any database: that is what db_add_reserve_nodes does.

    :param priv_net: Private address of the node with prefix length.
    :param nid: Wanted id; the next free one when left out.
    :param name: Wanted name; n and the id when left out.
    :param pub_net: Public address of the node with prefix length.
    :param offline: Add the node as offline instead of suspended: it counts for the quorum at once.
    :param no_partition_extend: Keep partitions that extend themselves from including the node; there are none, so it
        has no effect.
    :param space_warn_threshold: Usage of its storage, in percent, at which space counts as low.
    :param bg_rec_limit: Limit of the throughput of background recovery on it, in MiB/s.

    Examples:
    {priv_net: 10.10.10.1/24}
    {priv_net: 10.10.10.12/24, nid: 12, name: n12, space_warn_threshold: 90}
    """
    if nid is None:
        [number] = next_ids(ctx.conf.nodes, _retired(ctx), 1)
    else:
        check_id(number := nid, ctx.conf.nodes, _retired(ctx))
    new = NewNode(
        nid=number,
        name=name or f"n{number}",
        private_net=read_net(priv_net),
        public_net=read_net(pub_net) if pub_net else None,
        uuid=ctx.token(40).upper(),
        offline=offline,
        no_partition_extend=no_partition_extend,
        space_warn_threshold=space_warn_threshold,
        bg_rec_limit=bg_rec_limit,
    )
    _add(ctx, [section_of(ctx.conf, new)])
    if no_partition_extend:
        ctx.warn(_NO_PARTITIONS)
    return number


@job(MODIFY, allow=_ADMINISTRATORS, locks=[_MEMBERSHIP])
def node_add_batch(ctx: Context, nodes: Descriptions) -> list[int]:
    """Add several new machines to the cluster, all of them or none.

    :param nodes: One mapping per node: nid, private_ip, and optionally name, uuid (40 hexadecimal digits), public_ip
        and the options of node_add.

    Examples:
    {nodes: [{nid: 11, private_ip: 10.10.10.11, uuid: 7EAA8DEF9DF7483CABAD93774A4F130EBF2CE77F, name: n11}, {nid: 12, private_ip: 10.10.10.12, uuid: 39103D5FA93C46D3B8359918D01156ABD33B36EC, name: n12}]}
    """  # noqa: E501 - one example per line
    like, retired = _nets(ctx), _retired(ctx)
    added = []
    for entry in read_entries(nodes):
        check_id(entry.nid, ctx.conf.nodes, retired)
        if not entry.private_ip:
            raise MissingParameter(f"nodes: the entry of n{entry.nid} has no private_ip")
        new = NewNode(
            nid=entry.nid,
            name=entry.name or f"n{entry.nid}",
            private_net=read_address(entry.private_ip, like),
            public_net=read_address(entry.public_ip, like) if entry.public_ip else None,
            uuid=entry.uuid or ctx.token(40).upper(),
            offline=entry.offline,
            no_partition_extend=entry.no_partition_extend,
            space_warn_threshold=entry.space_warn_threshold,
            bg_rec_limit=entry.bg_rec_limit,
        )
        added.append(section_of(ctx.conf, new))
    _add(ctx, added)
    if any(node.no_partition_extend for node in added):
        ctx.warn(_NO_PARTITIONS)
    return [node.id for node in added]


@job(MODIFY, allow=_ADMINISTRATORS, locks=[_MEMBERSHIP, locks.node("nid", share=True)])
def node_clone_batch(ctx: Context, nid: NodeId, num_nodes: CloneCount, *, disks: list[Any] | None = None) -> list[int]:
    """Add nodes with the options and disks of an existing one; ids and addresses are the next free ones.

    :param nid: Id of the node to copy.
    :param num_nodes: How many nodes to add.
    :param disks: Names of the disks to copy, or mappings that describe others; all disks when left out.

    Examples:
    {nid: 11, num_nodes: 3}
    """
    template = ctx.conf.require_node(nid)
    chosen = disks_of_clone(template, disks)
    used = [address for node in ctx.conf.nodes.values() for address in addresses(node)]
    ids = next_ids(ctx.conf.nodes, _retired(ctx), num_nodes)
    _add(ctx, clones(template, ids, [ctx.token(40).upper() for _ in ids], used, chosen))
    return ids


@job(MODIFY, allow=_ADMINISTRATORS, locks=[_MEMBERSHIP])
def node_ip_batch(ctx: Context, nodes: Descriptions) -> None:
    """Change the addresses of nodes, all of them or none; nodes may also exchange their addresses.

    The nodes take up their new addresses when they are started again. Databases that run on them are stopped before.

    :param nodes: One mapping per node: nid, and private, public or both, with or without prefix length.

    Examples:
    {nodes: [{nid: 11, private: 10.10.10.11}, {nid: 12, private: 10.10.10.12}, {nid: 13, private: 10.10.10.13}]}
    """
    like = _nets(ctx)
    entries = read_entries(nodes)
    before = {entry.nid: ctx.conf.require_node(entry.nid) for entry in entries}
    changed = [readdressed(before[entry.nid], entry, like) for entry in entries]
    moving = [node for node in changed if node != before[node.id]]
    _check_stopped(ctx, {node.id for node in moving})
    if ctx.record(ETCD) is not None:
        raise WrongState(
            "nodes: the store is kept by etcd members on these nodes, which know each other by address; move it to the "
            "nodes' own store first (c4 store sqlite), and back afterwards"
        )
    for node in moving:
        ctx.conf.put(node)
    check_together(list(ctx.conf.nodes.values()))
    for nid in _unaware(ctx, moving):
        ctx.warn(
            f"n{nid} does not answer: it does not know its new address and comes up at the old one, where the cluster "
            "does not look for it; change address in etc/node.json below its root before it is started"
        )


def _add(ctx: Context, added: Sequence[Node]) -> None:
    """Put new nodes into the configuration, all or none."""
    public = "public" in ctx.conf.global_.networks
    for node in added:
        if public and not node.public_net:
            raise MissingParameter(f"pub_net: this cluster has a public network, so n{node.id} needs an address in it")
        ctx.conf.put(node)
        if node.suspended:
            ctx.stamp_record(suspension_key(node.id))
    check_uuids(added, ctx.record(RETIRED) or {})
    check_together(list(ctx.conf.nodes.values()))
    if counting := [node.id for node in added if not node.suspended]:
        _check_quorum(ctx, counting)


def _check_quorum(ctx: Context, counting: Sequence[int]) -> None:
    """Refuse nodes that count for the quorum from now on and cost it.

    :raises WrongState: says what to do instead.
    """
    states = node_states(ctx)
    quorum = quorum_of(states | dict.fromkeys(counting, NodeState.OFFLINE))
    if not quorum.held:
        raise WrongState(
            f"offline: {quorum} then, so no changes would be accepted any more; add the nodes as suspended"
        )


def _check_stopped(ctx: Context, moving: set[int]) -> None:
    """Refuse other addresses for nodes whose instances talk to each other now.

    :raises WrongState: names a database that runs there.
    """
    for database in ctx.conf.databases.values():
        volume = ctx.conf.volumes.get(database.data_volume)
        here = moving & {*database.nodes, *(volume.nodes if volume else ())}
        if here and database_record(ctx, database.name).wanted is Wanted.RUNNING:
            raise WrongState(
                f"database {database.name} runs with n{min(here)}, whose instances know each other by address; stop it "
                "with db_stop first"
            )


def _unaware(ctx: Context, moving: Sequence[Node]) -> list[int]:
    """Return the nodes that do not hear of this; a machine that is still to join learns its address from the token."""
    attendance = ctx.service(Attendance)
    answering = ctx.learn("answering", lambda: [node.id for node in moving if attendance.answers(node.id)])
    return [node.id for node in moving if node.id not in answering and _has_joined(ctx, node)]


def _has_joined(ctx: Context, node: Node) -> bool:
    """Tell whether a machine is the node, or has been let in as it."""
    token = ctx.record(f"{TOKENS}{node.id}") or {}
    return ctx.record(f"{JOINED}{node.id}") == node.uuid or bool(token.get("key"))


def _retired(ctx: Context) -> list[int]:
    return [int(nid) for nid in ctx.record(RETIRED) or ()]


def _nets(ctx: Context) -> list[str]:
    return [net for node in ctx.conf.nodes.values() for net in (node.private_net, node.public_net) if net]
