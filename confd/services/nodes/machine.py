"""The machine of a node and the daemon on it."""

from __future__ import annotations

import os
import platform
import threading
import time
from typing import Any, Final

import msgspec

from confd import __version__
from confd.cluster.host import Host, reporter
from confd.cluster.operations import operation
from confd.services.database.instance.ending import stop_instances

#: When the daemon of this node came up, UTC seconds. A node counts as booted with its daemon, like a container.
STARTED: Final = time.time()

#: Set once this node's daemon takes jobs.
READY: Final = threading.Event()


class Machine(msgspec.Struct, frozen=True):
    """What a node tells of itself; ``uptime`` in seconds."""

    version: str
    uptime: float
    load: tuple[float, float, float]
    system: str
    processors: int


@operation("nodes.machine")
def machine(host: Host) -> Machine:
    """Describe the machine now."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Machine(__version__, time.time() - STARTED, os.getloadavg(), system, os.cpu_count() or 1)


@operation("nodes.identify")
def identify(host: Host) -> float:
    """Return when the daemon that answers came up: it tells one daemon of a node from the next."""
    return STARTED


@operation("nodes.quiesce")
def quiesce(host: Host) -> None:
    """Stop all database instances of a node that is out of service."""
    stop_instances(host)


@operation("nodes.leave")
def leave(host: Host, started: float, removed: bool = False) -> None:
    """Stop all instances and end the daemon, soon after this returns.

    :param started: which daemon is meant; one that was started since stays.
    :param removed: the cluster has removed the node, which forgets its secrets then.
    """
    if started == STARTED:
        host.end(removed)


@reporter("nodes")
def report(host: Host) -> Any:
    """Report when the node came up, whether it takes jobs of clients, and what hinders it."""
    return {"booted": STARTED, "ready": READY.is_set(), "trouble": host.trouble()}
