"""Jobs about the connection and the cluster as a whole."""

from __future__ import annotations

from confd.model.errors import NotFound
from confd.scheduler.context import Context
from confd.scheduler.registry import READ, Allow, job


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
