"""Who becomes primary when the recorded one cannot be it any more. Pure.

An election begins only when the old primary is proven to be stopped (``Situation.stopped``). Standbys that hold a copy
are detached: they receive nothing any more, from whomever, and tell how far they got. One is chosen when those that
were read hold every acknowledged commit for certain:

* ``len(S) - k + 1`` members of the recorded quorum ``(S, k)``: each commit is on at least one of them; and the old
  primary, were it alive after all, cannot get ``k`` acknowledgements from the rest;
* or one that has the last record of a primary which was stopped in order;
* or, when an administrator accepts the loss of what only absent nodes have, all that are there.

The one with the most advanced timeline and position has all that any of them has. The record names it first, then it
is promoted.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from confd.model.naming import names
from confd.services.database.observed import Instance, InstanceState, Role, lsn
from confd.services.database.planning.actions import Detach, NodeAction, Promote, Remember, StartStandby
from confd.services.database.planning.quorum import asked_for
from confd.services.database.planning.situation import Plan, Situation, lease_of, may_follow, no_lease
from confd.services.database.record import Quorum, Record


def plan_election(now: Situation) -> Plan:
    """Find and record the next primary; the present one is proven to be stopped."""
    copies = [one for node, one in now.seen.items() if _stands(now, node) and may_follow(now.record, one)]
    if lack := _lack(now, copies):
        return Plan(blocked=lack, offline=True)
    # What is under way on a copy may have it follow the old primary once more.
    read = [one for one in copies if one.detached and one.node not in now.busy]
    if _everything(now, copies, read):
        return Plan((Remember(_elected(now, max(read, key=lambda one: _rank(now, one)))),))
    if len(read) == len(copies):
        return Plan(blocked=_missing(now, copies), offline=True)
    return Plan(tuple(_reading(now, copies)))


def plan_promotion(now: Situation, chosen: Instance) -> Plan:
    """Make the recorded primary writable, which is still a standby."""
    if now.awaits_lease(chosen):
        return Plan(blocked=no_lease(chosen.node), offline=True)
    if chosen.detached:
        promote = Promote(chosen.node, _first_quorum(now, chosen.node), lease_of(chosen), now.record.timeline)
        return Plan((promote,) if now.free(chosen.node) and not now.contested(chosen.node) else ())
    return Plan(tuple(_reading(now, [chosen])))


def _stands(now: Situation, node: int) -> bool:
    """Tell whether a node may be asked; not one whose copy has moved elsewhere: that may be destroyed at any moment."""
    record = now.record
    known = (*now.spec.nodes, *record.quorum.standbys, *record.copies, *record.suspended)
    return node != record.primary and node in known


def _lack(now: Situation, copies: list[Instance]) -> str:
    """Say why nobody can be chosen, whatever is read of these copies; empty when somebody may be."""
    if copies and (now.record.accept_loss or _ended(now)):
        return ""
    return "" if len(_members(now, copies)) >= _needed(now.record.quorum) else _missing(now, copies)


def _members(now: Situation, copies: list[Instance]) -> list[int]:
    return [one.node for one in copies if one.node in now.record.quorum.standbys]


def _missing(now: Situation, copies: list[Instance]) -> str:
    record, members = now.record, _members(now, copies)
    away = [node for node in record.quorum.standbys if node not in members]
    who = names([node for node in (record.primary, *away) if node is not None])
    return (
        f"{who} may hold rows that no other node has; it starts again when they return, or without these rows "
        "after db_stop and db_start with accept_loss"
    )


def _everything(now: Situation, copies: list[Instance], read: list[Instance]) -> bool:
    """Tell whether the copies that were read hold every acknowledged commit, or as much as there will be."""
    if _complete(now, read) or len(_members(now, read)) >= _needed(now.record.quorum):
        return True
    return now.record.accept_loss and bool(read) and len(read) == len(copies)


def _complete(now: Situation, read: list[Instance]) -> bool:
    ended = _ended(now)
    return bool(ended) and any(one.timeline == _last(now).timeline and lsn(one.flushed) > lsn(ended) for one in read)


def _ended(now: Situation) -> str:
    return _last(now).ended


def _last(now: Situation) -> Instance:
    nothing = Instance(node=0, state=InstanceState.EMPTY)
    last = now.seen.get(now.record.primary or 0, nothing)
    return last if last.role is Role.PRIMARY and last.generation == now.record.generation else nothing


def _needed(quorum: Quorum) -> int:
    """Return how many standbys must be read to find every acknowledged commit; more than there are without one."""
    return len(quorum.standbys) - quorum.acks + 1


def _rank(now: Situation, one: Instance) -> tuple[int, int, bool, bool, bool, int]:
    active, seat = one.node in now.spec.active, one.node in now.spec.nodes
    return one.timeline, lsn(one.flushed), not now.awaits_lease(one), seat, active, -one.node


def _reading(now: Situation, copies: list[Instance]) -> Iterator[NodeAction]:
    for one in copies:
        if one.state is InstanceState.STOPPED and now.free(one.node):
            yield StartStandby(one.node, None)
        elif one.state is InstanceState.READY and not one.detached and now.free(one.node):
            yield Detach(one.node)


def _elected(now: Situation, chosen: Instance) -> Record:
    """Return the record that names the next primary.

    What is acknowledged is on it and on one member less of the others. The timeline that it begins has a number that
    none of this data ever had, also where the last one was not seen to be promoted, or the chosen one knows less than
    the record.
    """
    record, old = now.record, now.record.quorum
    rest = tuple(node for node in old.standbys if node != chosen.node)
    quorum = Quorum(rest, old.acks - 1) if old.acks > 1 and len(rest) < len(old.standbys) else Quorum()
    return msgspec.structs.replace(
        record,
        primary=chosen.node,
        timeline=max(record.timeline, chosen.timeline) + 1,
        quorum=quorum,
        promoting=True,
        place=chosen.place,
        accept_loss=False,
        moves=record.moves + 1,
    )


def _first_quorum(now: Situation, primary: int) -> Quorum:
    """Return what a new primary waits for at once: what the record says, else those that will follow it."""
    if now.record.quorum.acks:
        return now.record.quorum
    followers = [
        node for node, one in now.others(primary) if one.state is InstanceState.READY and may_follow(now.record, one)
    ]
    return asked_for(now, primary, followers)
