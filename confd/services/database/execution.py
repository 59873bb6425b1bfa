"""Carries out what the planner decided: one action, by commands to nodes."""

from __future__ import annotations

from typing import Final

from confd.cluster.host import Cluster
from confd.services.backup import opening, restoring
from confd.services.database import instance
from confd.services.database.situation import (
    Clone,
    CloseVirtual,
    Initialise,
    NodeAction,
    OpenVirtual,
    SetQuorum,
    StartPrimary,
    StartStandby,
    StopInstance,
)

_DAY: Final = 86400.0
_START: Final = 60.0
_CATCH_UP: Final = 10.0
STOP_PATIENCE: Final = 300.0
"""Seconds until a server that does not stop is stopped by force."""


def execute(
    cluster: Cluster, database: str, action: NodeAction, force: bool = False, maintenance: bool = False
) -> None:
    """Carry an action out and wait for its end.

    :param force: stop without a checkpoint.
    :param maintenance: start for sys only.
    :raises ConfDError: what the node said.
    """
    match action:
        case Initialise(node, generation, _, order) if order:
            cluster.call(restoring.restore.on(node, database, generation, order), timeout=_DAY)
        case Initialise(node, generation, replace):
            cluster.call(instance.initialise.on(node, database, generation, replace), timeout=_DAY)
        case StartPrimary(node, quorum):
            cluster.call(instance.start_primary.on(node, database, quorum, maintenance), timeout=_START)
        case OpenVirtual(node, order):
            cluster.call(opening.open_virtual.on(node, database, order), timeout=_DAY)
        case CloseVirtual(node):
            cluster.call(opening.close_virtual.on(node, database), timeout=STOP_PATIENCE)
        case Clone(node, source):
            password = cluster.call(instance.admit.on(source, database, node, maintenance))
            cluster.call(instance.clone.on(node, database, source, password), timeout=_DAY)
        case StartStandby(node, primary):
            cluster.call(instance.start_standby.on(node, database, primary, maintenance), timeout=_START)
        case SetQuorum(node, quorum):
            cluster.call(instance.set_quorum.on(node, database, quorum, _CATCH_UP), timeout=2 * _CATCH_UP)
        case StopInstance(node):
            stop = instance.stop.on(node, database, force, STOP_PATIENCE)
            cluster.call(stop, timeout=STOP_PATIENCE + 20.0)
