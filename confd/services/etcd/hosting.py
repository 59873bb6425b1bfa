"""Whether a node could run a member of etcd: it has the program, and the ports are free."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, Final

from confd.cluster.host import Host, reporter
from confd.cluster.operations import operation
from confd.cluster.ports import hindrance
from confd.model.errors import InUse, Unsupported
from confd.services.etcd.binary import find_binary, if_there
from confd.services.etcd.minder import server_at
from confd.services.etcd.plan import load_plan

REPORT: Final = "etcd"
"""What each node says of its member: ``{"trouble": why it does not run though it should, "lost": it never can}``."""


@reporter(REPORT)
def report(host: Host) -> Any:
    """Report what hinders the member of this node, and whether it has none, or has lost its data."""
    server = server_at(host.root)
    return {"trouble": server.trouble, "lost": server.lost}


@operation("etcd.has_lost_member")
def has_lost_member(host: Host) -> bool:
    """Find out whether a member that etcd lists as started on this node has lost its plan or its data."""
    return server_at(host.root).lost


@operation("etcd.check_member", planned=lambda binary, port: binary)
def check_member(host: Host, binary: str, port: int) -> str:
    """Find out whether a node could run a member: the path of its etcd.

    :raises Unsupported: it has no etcd that will do.
    :raises InUse: somebody else listens on one of the ports.
    """
    try:
        found = find_binary(binary)
    except Unsupported as error:
        raise Unsupported(f"{host.name}: {error.message}") from None
    try:
        check_ports(host.root, host.address, port)
    except InUse as error:
        raise InUse(f"{error.message}, or give another port") from None
    return found


@operation("etcd.check_further_member")
def check_further_member(host: Host, binary: str, port: int) -> None:
    """Find out whether a node could run a further member; a program that is not there is looked for elsewhere.

    :raises Unsupported: it has no etcd that will do.
    :raises InUse: somebody else listens on one of the ports.
    """
    find_binary(if_there(binary))
    check_ports(host.root, host.address, port)


def check_ports(root: Path, address: str, port: int) -> None:
    """Refuse a client port, and the members' port above it, that a node cannot listen on.

    A server that an earlier try left is no hindrance: it ends first.

    :raises InUse: says which one.
    """
    plan = load_plan(root) if server_at(root).pid() is not None else None
    for wanted in {port, port + 1} - ({plan.port, plan.port + 1} if plan else set()):
        if (error := hindrance(address, wanted)) is not None:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise InUse(f"port {wanted} on {address}, wanted for etcd, {why}; free it")
