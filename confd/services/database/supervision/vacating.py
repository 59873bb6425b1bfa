"""Databases without nodes that go out of service: master operations, and the pure judgement behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.model.errors import NodeOffline, TimedOut, WrongState
from confd.model.naming import names
from confd.model.states import NodeState
from confd.services.database.planning.situation import Situation
from confd.services.database.record import Wanted, suspending
from confd.services.database.supervision.moving import parted
from confd.services.database.supervision.observation import primary_serves
from confd.services.database.supervision.supervision import Supervision
from confd.services.database.supervision.supervisor import Supervisor
from confd.services.nodes.machine import STARTED

_VACATE_WITHIN: Final = 600.0
_GO_ON_WITHIN: Final = 30.0
_RELEASE_WITHIN: Final = 10.0
_LOOK: Final = 0.1


@master_operation("database.vacate")
def vacate(master: Master, database: str, nodes: list[int]) -> None:
    """Take nodes from a database, as ``suspend`` does, and wait until nothing of it runs or is relied on there.

    :raises WrongState: no other node can go on with it.
    :raises TimedOut: it takes too long.
    """
    until = time.monotonic() + _VACATE_WITHIN
    master.service(Supervision).follow(
        database,
        lambda record: suspending(record, nodes),
        lambda supervisor: _judged(supervisor, nodes, until),
        say=master.say,
        canceled=lambda: master.canceled,
    )


@master_operation("database.go_on")
def go_on(master: Master, database: str, nodes: list[int]) -> None:
    """Wait a while until a database runs without nodes that were lost; it goes on by itself otherwise."""
    supervision, pause = master.service(Supervision), threading.Event()
    until = time.monotonic() + _GO_ON_WITHIN
    while database in master.cluster.conf().databases and not master.canceled:
        if _has_gone_on(supervision.view(database), nodes):
            return
        if time.monotonic() > until:
            master.say("it takes longer and goes on in the background")
            return
        pause.wait(_LOOK)


@master_operation("database.release")
def release(master: Master, database: str, nodes: list[int], daemons: list[float]) -> None:
    """Give nodes back to a database once their daemons, which were told to end, are gone; they may have come back.

    :param daemons: when the daemons that end came up.
    :raises NodeOffline: this node's own daemon is among them and has not ended yet; to be tried again.
    """
    until, pause = time.monotonic() + _RELEASE_WITHIN, threading.Event()
    if STARTED in daemons:
        raise NodeOffline(f"this daemon ends now; database {database} gets its nodes back when the next one runs")
    while any(_is_online(master, node) for node in nodes) and time.monotonic() < until and not master.canceled:
        pause.wait(_LOOK)
    if database in master.cluster.conf().databases:
        master.service(Supervision).resume(database, nodes)


def _is_online(master: Master, node: int) -> bool:
    return master.cluster.node_states().get(node) is NodeState.ONLINE


def vacated(now: Situation, nodes: Sequence[int]) -> bool:
    """Tell whether nothing of a database runs on nodes, and nothing relies on them.

    The primary of a stopped database stays the primary there; it is proven to be stopped.
    """
    if any(node in now.seen and now.seen[node].running for node in nodes):
        return False
    if now.record.wanted is Wanted.STOPPED:
        primary = now.record.primary
        return primary is None or primary not in nodes or now.stopped(primary)
    return all(parted(now.record, node) for node in nodes)


def _judged(supervisor: Supervisor, nodes: Sequence[int], until: float) -> bool | None:
    view = supervisor.view
    if view is None:
        return None
    now = view.situation
    if vacated(now, nodes):
        return True
    if view.plan.blocked:
        raise WrongState(f"database {now.database} cannot go on without {names(nodes)}: {view.plan.blocked}")
    if time.monotonic() > until:
        raise TimedOut(f"database {now.database} still relies on {names(nodes)}; db_info says how it is")
    return None


def _has_gone_on(supervisor: Supervisor, nodes: Sequence[int]) -> bool:
    with supervisor.changed:
        view = supervisor.view
    if view is None:
        return False
    record = view.situation.record
    served = record.primary not in nodes and primary_serves(view.situation)
    return record.wanted is Wanted.STOPPED or served or bool(view.plan.blocked)
