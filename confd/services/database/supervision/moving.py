"""Moves the copies of a running database to other nodes: master operations, and the pure judgement behind them.

The way of a move: the record names *guests*, which the supervisor supplies with a copy like any other node; once they
follow, the record names the nodes that are *leaving*: the quorum changes to one without them, as always so that it is
true at every moment. Only then the configuration changes, and only after that the left copies are destroyed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from confd.cluster.host import Cluster, Master
from confd.cluster.operations import master_operation
from confd.model.errors import ConfDError, NodeOffline, WrongState
from confd.model.naming import names
from confd.services.database.instance.departure import dismiss, drop_copy
from confd.services.database.observed import InstanceState
from confd.services.database.planning.actions import SetQuorum
from confd.services.database.planning.quorum import without
from confd.services.database.planning.situation import Situation
from confd.services.database.record import Record, Wanted
from confd.services.database.supervision.supervision import Supervision
from confd.services.database.supervision.supervisor import Supervisor

_PART_WITHIN: Final = 20.0
_LOOK: Final = 0.1
_DROP_WITHIN: Final = 600.0


@master_operation("database.move")
def move(master: Master, database: str, sources: list[int], guests: list[int]) -> None:
    """Give guests a copy of a running database, then have nothing rely on the copies of the sources.

    :raises ConfDError: a copy cannot be made, or the database stopped serving.
    """
    supervision = master.service(Supervision)

    def phase(leaving: Sequence[int]) -> None:
        supervision.follow(
            database,
            lambda record: with_move(record, guests, leaving),
            lambda supervisor: _judged(supervisor, guests, leaving),
            say=master.say,
            canceled=lambda: master.canceled,
        )

    phase(())
    master.say(f"{names(guests)} has a copy that follows; {names(sources)} is not counted on any more")
    phase(sources)


@master_operation("database.stay")
def stay(master: Master, database: str, guests: list[int]) -> None:
    """Undo ``move``: have nothing rely on the guests, and send them away; fine when they never came.

    :raises NodeOffline: that is not so yet; to be tried again.
    """
    supervision = master.service(Supervision)
    if database not in master.cluster.conf().databases:
        return
    if set(guests) & set(supervision.record(database).guests):
        supervision.change(database, lambda record: with_move(record, guests, guests))
        _await_parted(master, database, guests)
    supervision.change(database, lambda record: with_move(record, (), ()))


@master_operation("database.moved")
def moved(master: Master, database: str) -> None:
    """End a move after the configuration has changed: the guests are at home now."""
    if database in master.cluster.conf().databases:
        master.service(Supervision).change(database, lambda record: with_move(record, (), ()))


@master_operation("database.withdraw")
def withdraw(master: Master, database: str, left: int, vid: int, devices: list[str], maker: str | None = None) -> None:
    """Destroy the copy on a node that is none of the database's any more, once nothing relies on it.

    :raises NodeOffline: something still does, or the node is away; to be tried again.
    """
    if database in master.cluster.conf().databases:
        _weaken(master, database, left)
        _await_parted(master, database, [left])
    master.cluster.call(drop_copy.on(left, database, vid, devices, maker), timeout=_DROP_WITHIN)
    _dismiss(master.cluster, master.service(Supervision), database, left)


def with_move(record: Record, guests: Sequence[int], leaving: Sequence[int]) -> Record:
    """Return the record with a move under way; what leaves is no copy from which the database could go on."""
    copies = tuple(node for node in record.copies if node not in leaving)
    return msgspec.structs.replace(record, guests=tuple(guests), leaving=tuple(leaving), copies=copies)


def arrived(now: Situation, node: int) -> bool:
    """Tell whether a node has a copy that follows, and counts where commits wait for copies."""
    primary = now.seen.get(now.record.primary) if now.record.primary is not None else None
    own = now.seen.get(node)
    if primary is None or own is None or own.state is not InstanceState.READY:
        return False
    streams = any(one.node == node and one.state == "streaming" for one in primary.followers)
    return node == primary.node or (streams and (now.spec.redundancy < 2 or node in now.record.quorum.standbys))


def parted(record: Record, node: int) -> bool:
    """Tell whether nothing relies on the copy of a node."""
    return node != record.primary and node not in record.quorum.standbys


def _judged(supervisor: Supervisor, guests: Sequence[int], leaving: Sequence[int]) -> bool | None:
    """Return True once the move has come so far, None while it is open; with the supervisor's condition held."""
    view = supervisor.view
    if view is None:
        return None
    now = view.situation
    if now.record.wanted is not Wanted.RUNNING:
        raise WrongState(f"database {now.database} is being stopped; move its copies while it runs")
    if view.plan.blocked:
        raise NodeOffline(f"the copies of database {now.database} cannot be moved now: {view.plan.blocked}")
    away = [node for node in guests if not now.online(node)]
    if away:
        raise NodeOffline(f"{names(away)} went offline while it was given a copy of database {now.database}")
    for node, failure in supervisor.failures.items():
        # Standbys that need longer to catch up are waited for.
        if node in guests and not isinstance(failure.action, SetQuorum):
            raise failure.error
    done = all(arrived(now, node) for node in guests) and all(parted(now.record, node) for node in leaving)
    return done or None


def _weaken(master: Master, database: str, node: int) -> None:
    """Of a stopped database the record alone says what is relied on; less of it is as true."""
    supervision = master.service(Supervision)
    if supervision.record(database).wanted is Wanted.STOPPED and not _runs(supervision, database):
        supervision.change(
            database, lambda record: msgspec.structs.replace(record, quorum=without(record.quorum, node))
        )


def _runs(supervision: Supervision, database: str) -> bool:
    return any(instance.running for instance in supervision.observe(database).instances)


def _await_parted(master: Master, database: str, nodes: Sequence[int]) -> None:
    supervision = master.service(Supervision)
    deadline, pause = time.monotonic() + _PART_WITHIN, threading.Event()

    def rest() -> list[int]:
        return [node for node in nodes if not parted(supervision.record(database), node)]

    while rest():
        if time.monotonic() > deadline or master.canceled:
            raise NodeOffline(f"database {database} still relies on {names(rest())}; its copy goes when it does not")
        pause.wait(_LOOK)


def _dismiss(cluster: Cluster, supervision: Supervision, database: str, node: int) -> None:
    # What is kept in vain is limited by max_slot_wal_keep_size, so this need not succeed.
    with suppress(ConfDError):
        record = supervision.record(database)
        if record.primary is not None and record.wanted is Wanted.RUNNING:
            cluster.call(dismiss.on(record.primary, database, node))
