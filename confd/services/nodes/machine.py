"""The machine of a node and the daemon on it."""

from __future__ import annotations

import os
import platform
import time
from typing import Any, Final

import msgspec

from confd import __version__
from confd.cluster.host import Host, reporter
from confd.cluster.operations import operation

#: When the daemon of this node came up, UTC seconds. A node counts as booted with its daemon, like a container.
STARTED: Final = time.time()


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


@reporter("nodes")
def report(host: Host) -> Any:
    """Report when the node came up."""
    return {"booted": STARTED}
