"""Ports of a node that somebody else may hold."""

from __future__ import annotations

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.cluster.ports import explain, hindrance, is_own
from confd.model.errors import InUse


@operation("nodes.check_port")
def check_port(host: Host, port: int) -> None:
    """Refuse a port of this node's address that the daemon could not listen on after its next start.

    :raises InUse: names who does.
    """
    error = hindrance(host.address, port)
    if error is not None and not is_own(host.address, port):
        raise InUse(f"port {port} of {host.name} ({host.address}) {explain(host.address, port, error)}")
