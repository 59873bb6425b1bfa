"""Which standbys commits wait for, and how that changes safely. Pure.

A change from (S, k) to (T, j) goes: record (S + T, min(k, j)); PostgreSQL (T, j) in force and caught up; record
(T, j). The record in between follows from both, so at every moment the record is true of all acknowledged commits.
Shrinking is thereby recorded first and growing last.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from confd.services.database.observed import Instance, InstanceState
from confd.services.database.planning.actions import Remember, SetQuorum
from confd.services.database.planning.situation import Situation, may_follow
from confd.services.database.record import Quorum, Record


def transition(old: Quorum, new: Quorum) -> Quorum:
    """Return the quorum that holds while PostgreSQL changes from one to the other."""
    acks = min(old.acks, new.acks)
    return Quorum(tuple(sorted({*old.standbys, *new.standbys})), acks) if acks else Quorum()


def without(quorum: Quorum, node: int) -> Quorum:
    """Return what still holds of a quorum when a node is not asked any more."""
    rest = tuple(one for one in quorum.standbys if one != node)
    acks = quorum.acks - (node in quorum.standbys)
    return Quorum(rest, acks) if acks > 0 else Quorum()


def quorum_step(now: Situation, primary: int, instance: Instance) -> SetQuorum | Remember | None:
    """Return the next step of a change of quorum, None when there is none to take now."""
    if not now.free(primary):
        return None
    target, recorded = target_quorum(now, primary, instance), now.record.quorum
    if recorded == target and instance.synchronous == target.names():
        return None
    between = transition(recorded, target)
    if recorded not in (between, target):
        return Remember(msgspec.structs.replace(now.record, quorum=between))
    return SetQuorum(primary, target, recorded)


def confirmed(record: Record, action: SetQuorum) -> Record:
    """Return the record after a quorum came into force; of a record that changed meanwhile nothing is known."""
    return msgspec.structs.replace(record, quorum=action.quorum) if record.quorum == action.recorded else record


def target_quorum(now: Situation, primary: int, instance: Instance) -> Quorum:
    """Return those that follow now or soon again, with as many acknowledgements as redundancy asks for.

    Who is cut off from most nodes waits for whom it waited: the others may be given another master, who would not know
    of the change and would choose a primary without what was acknowledged since.
    """
    streaming = {follower.node for follower in instance.followers if follower.state == "streaming"}
    waited_for = {*now.record.quorum.standbys, *in_force(instance)}
    kept = {node for node in waited_for if now.cut_off or (node not in now.late and _comes_back(now, node))}
    return asked_for(now, primary, streaming | kept)


def asked_for(now: Situation, primary: int, members: Collection[int]) -> Quorum:
    """Return the quorum of some standbys that redundancy asks for."""
    standbys = tuple(sorted(node for node in now.spec.nodes if node != primary and node in members))
    acks = min(now.spec.redundancy - 1, len(standbys))
    return Quorum(standbys, acks) if acks > 0 else Quorum()


def in_force(instance: Instance) -> tuple[int, ...]:
    """Return the standbys that a primary waits for."""
    return tuple(int(node) for node in re.findall(r"\bn(\d+)\b", instance.synchronous))


def acks_in_force(instance: Instance) -> int:
    """Return of how many standbys a primary waits for acknowledgements."""
    found = re.match(r"ANY (\d+) ", instance.synchronous)
    return int(found[1]) if found else 0


def _comes_back(now: Situation, node: int) -> bool:
    """A member that is only starting stays; one that is gone, or lost its data, would stop all commits."""
    if not now.online(node) or node not in now.seen:
        return now.online(node)
    instance = now.seen[node]
    starting = instance.state in (InstanceState.STARTING, InstanceState.READY) or node in now.busy
    return starting and may_follow(now.record, instance)
