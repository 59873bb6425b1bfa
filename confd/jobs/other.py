"""Jobs about the connection and the cluster as a whole."""

from __future__ import annotations

from typing import Final

from confd.cluster.leading.handover import RECORD
from confd.cluster.operations import MASTER
from confd.jobs.types import NodeIds
from confd.model.errors import InvalidParameter, NodeOffline, NotFound
from confd.scheduler.context import Context
from confd.scheduler.registry import MODIFY, READ, Allow, job
from confd.services.nodes.mastership import AFFINITIES, Giving, choose, give_mastership, preferred, set_back

_ADMINISTRATORS: Final = Allow(groups=("root", "exaadm"))


@job(READ, allow=Allow(users=("root",), groups=("root", "exastoradm", "exaadm")))
def conn_get_remote_nid(ctx: Context) -> int:
    """Tell the caller on which node he is, judged by the address the call came from.

    Examples:
    {}
    """
    peer = str(ctx.request.get("peer", ""))
    if peer == "unix":
        return int(ctx.request["node"])
    for node in ctx.conf.nodes.values():
        if peer in (node.private_ip, node.public_ip):
            return node.id
    raise NotFound(
        f"the call came from {peer or 'an unknown address'}, which is not the address of a node; call from a node"
    )


@job(MODIFY, allow=_ADMINISTRATORS, lockless=True)
def master_change(ctx: Context, nids: NodeIds) -> int:
    """Choose a new master among the given nodes; the one it became is returned.

    It is the candidate of the lowest affinity that is online; the present master stays only if no other one is.
    Running jobs end first; those that take long go on under the new master, as do all that are submitted meanwhile.
    Until affinity_reset the chosen node, then the other candidates, are preferred as master.

    :param nids: Ids of the candidates.

    Examples:
    {nids: [11, 12, 13]}
    """
    candidates = [ctx.conf.require_node(nid) for nid in nids]
    if not candidates:
        raise InvalidParameter("nids: give the id of at least one node that is to become master")
    sitting = ctx.learn("master", lambda: ctx.service(Giving).node)
    chosen = ctx.learn("new master", lambda: choose(candidates, ctx.cluster.node_states(), sitting))
    if chosen is None:
        names = ", ".join(node.name for node in candidates)
        raise NodeOffline(f"none of the candidates is online ({names}); start one, or give others")
    if sitting == chosen:
        ctx.warn(f"n{chosen} is master already")
    ctx.put_record(AFFINITIES, set_back(ctx.conf.nodes.values(), nids, chosen))
    ctx.put_record(RECORD, None)
    ctx.run(give_mastership.on(MASTER, nid=chosen, job=ctx.job_id))
    return chosen


@job(MODIFY, allow=_ADMINISTRATORS, lockless=True)
def affinity_reset(ctx: Context) -> None:
    """Put the affinities of all nodes back to their configured values; the node of the lowest one becomes master.

    Examples:
    {}
    """
    states = ctx.cluster.node_states
    chosen = ctx.learn("preferred master", lambda: preferred(ctx.conf.nodes.values(), states()))
    ctx.put_record(AFFINITIES, None)
    ctx.put_record(RECORD, None)
    if chosen is not None:
        ctx.run(give_mastership.on(MASTER, nid=chosen, job=ctx.job_id))
