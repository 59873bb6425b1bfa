"""Carries out what the planner decided: one action, by commands to nodes."""

from __future__ import annotations

import contextlib
from typing import Final

from confd.cluster.host import Cluster
from confd.model.errors import ConfDError
from confd.services.backup.restoring import opening
from confd.services.backup.restoring import operations as restoring
from confd.services.database.engine import upgrading
from confd.services.database.instance import operations as instance
from confd.services.database.planning.actions import (
    Clone,
    CloseVirtual,
    Detach,
    Follow,
    Initialise,
    NodeAction,
    OpenVirtual,
    Promote,
    Refresh,
    Restrict,
    Rewind,
    SetQuorum,
    StartPrimary,
    StartStandby,
    StopInstance,
    Upgrade,
)
from confd.services.database.supervision.keytabs import give_keytab

_DAY: Final = 86400.0
_START: Final = 60.0
_CATCH_UP: Final = 10.0
_CHECKPOINT: Final = 600.0
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
    if isinstance(action, Initialise | StartPrimary | Clone | StartStandby | OpenVirtual):
        give_keytab(cluster, database, action.node)
    match action:
        case Initialise(node, generation, _, order) if order:
            cluster.call(restoring.restore.on(node, database, generation, order), timeout=_DAY)
        case Initialise(node, generation, replace):
            cluster.call(instance.initialise.on(node, database, generation, replace), timeout=_DAY)
        case Upgrade(node, generation):
            cluster.call(upgrading.upgrade.on(node, database, generation), timeout=_DAY)
        case StartPrimary(node, quorum, lease):
            cluster.call(instance.start_primary.on(node, database, quorum, maintenance, lease), timeout=_START)
        case Clone() | Rewind() | StartStandby() | Follow() | Detach() | Promote():
            _execute_on_copy(cluster, database, action, maintenance)
        case OpenVirtual(node, order):
            cluster.call(opening.open_virtual.on(node, database, order), timeout=_DAY)
        case CloseVirtual(node):
            cluster.call(opening.close_virtual.on(node, database), timeout=STOP_PATIENCE)
        case SetQuorum(node, quorum):
            cluster.call(instance.set_quorum.on(node, database, quorum, _CATCH_UP), timeout=2 * _CATCH_UP)
        case Refresh(node):
            cluster.call(instance.refresh.on(node, database))
        case Restrict(node, read_only):
            cluster.call(instance.restrict.on(node, database, read_only))
        case StopInstance(node):
            stop = instance.stop.on(node, database, force, STOP_PATIENCE)
            cluster.call(stop, timeout=STOP_PATIENCE + 20.0)


def _execute_on_copy(
    cluster: Cluster,
    database: str,
    action: Clone | Rewind | StartStandby | Follow | Detach | Promote,
    maintenance: bool,
) -> None:
    match action:
        case Clone(node, source):
            password = cluster.call(instance.admit.on(source, database, node, maintenance))
            cluster.call(instance.clone.on(node, database, source, password), timeout=_DAY)
        case Rewind(node, source, history):
            password = cluster.call(
                instance.admit.on(source, database, node, maintenance, checkpoint=True), timeout=_CHECKPOINT
            )
            cluster.call(instance.rewind.on(node, database, source, password, history), timeout=_DAY)
        case StartStandby(node, primary, history):
            _admit(cluster, database, node, primary, maintenance)
            start = instance.start_standby.on(node, database, primary, maintenance, history)
            cluster.call(start, timeout=_START)
        case Follow(node, primary):
            _admit(cluster, database, node, primary, maintenance)
            cluster.call(instance.follow.on(node, database, primary), timeout=_START)
        case Detach(node):
            cluster.call(instance.detach.on(node, database, _CATCH_UP), timeout=2 * _CATCH_UP)
        case Promote(node, quorum, lease, timeline):
            cluster.call(instance.promote.on(node, database, quorum, maintenance, lease, timeline), timeout=_START)


def _admit(cluster: Cluster, database: str, node: int, primary: int | None, maintenance: bool) -> None:
    """Have the primary keep WAL for a standby; one that is only starting has done so before."""
    if primary is not None:
        with contextlib.suppress(ConfDError):
            cluster.call(instance.admit.on(primary, database, node, maintenance))
