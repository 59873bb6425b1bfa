"""Decides what is done next for a database. Pure: a situation in, actions out.

``plan`` returns actions on different nodes that may all run at once; then the situation is observed anew. An action
that is still running makes its node *busy*: nothing else is planned for it.

Invariants, whatever is observed and in whatever order actions end, fail or repeat:

1. Only the node that the record names as primary is started writable, and only when no other node is known to be
   writable; an instance that is writable elsewhere is stopped before anything is started.
2. The record is written before an action that relies on it: the primary before it first starts, the quorum so that
   every acknowledged commit is always covered by it. A change of quorum from (S, k) to (T, j) goes: record
   (S + T, min(k, j)), PostgreSQL (T, j) in force and caught up, record (T, j). So shrinking is recorded first and
   growing last.
3. Data is made new only if the record says create_new, or if every node of the database is seen and none has data;
   and at most once: data of the next generation that is found is taken, not made again.
4. A standby is cloned only where there is no usable copy: same generation and system identifier, timeline not ahead
   of the record. It is cloned from the running primary.
5. When the database is to stop, the primary stops first, so that its last WAL reaches the standbys.
6. Nothing is done on nodes that are offline, suspended or not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import NoneType

import msgspec

from confd.model.states import NodeState
from confd.services.database.observed import Instance, InstanceState, Role
from confd.services.database.record import Quorum, Record, Wanted


class Initialise(msgspec.Struct, frozen=True, tag=True):
    """Make empty data; ``replace``: whatever the volume holds there goes."""

    node: int
    generation: str
    replace: bool


class StartPrimary(msgspec.Struct, frozen=True, tag=True):
    """Write configuration and start, writable, with this quorum in force."""

    node: int
    quorum: Quorum


class Clone(msgspec.Struct, frozen=True, tag=True):
    """Copy the primary's data."""

    node: int
    source: int


class StartStandby(msgspec.Struct, frozen=True, tag=True):
    """Write configuration and start as follower of the primary."""

    node: int
    primary: int


class SetQuorum(msgspec.Struct, frozen=True, tag=True):
    """Bring a quorum into force on the primary and wait until the standbys have caught up; then it is recorded."""

    node: int
    quorum: Quorum
    recorded: Quorum


class StopInstance(msgspec.Struct, frozen=True, tag=True):
    """Stop the instance and its keeper."""

    node: int
    reason: str


class Remember(msgspec.Struct, frozen=True, tag=True):
    """Write the runtime record; always alone in its plan."""

    record: Record


NodeAction = Initialise | StartPrimary | Clone | StartStandby | SetQuorum | StopInstance
Action = NodeAction | Remember


class Spec(msgspec.Struct, frozen=True):
    """What the configuration says: nodes with clients, nodes with further copies, nodes a commit must reach."""

    active: tuple[int, ...]
    copies: tuple[int, ...]
    redundancy: int

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes that are to have an instance."""
        return self.active + self.copies


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision rests on. ``seen`` lacks nodes that did not answer."""

    database: str
    spec: Spec
    record: Record
    nodes: dict[int, NodeState]
    seen: dict[int, Instance]
    busy: dict[int, NodeAction] = {}


class Plan(msgspec.Struct, frozen=True):
    """What to do now; ``blocked`` says why the wanted state cannot be reached, ``offline`` that a node must return."""

    actions: tuple[Action, ...] = ()
    blocked: str = ""
    offline: bool = False
    reached: bool = False


def plan(now: Situation) -> Plan:
    """Return the next actions towards the wanted state."""
    if now.record.wanted is Wanted.STOPPED:
        return _plan_stop(now)
    if strays := tuple(_stop_strays(now)):
        return Plan(strays)
    if now.record.create_new or not now.record.system_id:
        return _plan_data(now)
    return _plan_run(now)


def usable(record: Record, instance: Instance) -> bool:
    """Tell whether an instance holds this database's data, possibly an older state of it."""
    if instance.state is InstanceState.EMPTY or instance.generation != record.generation:
        return False
    return instance.system_id == record.system_id and instance.timeline <= record.timeline


def confirmed(record: Record, action: SetQuorum) -> Record:
    """Return the record after a quorum came into force."""
    return _changed(record, quorum=action.quorum) if record.quorum == action.recorded else record


def transition(old: Quorum, new: Quorum) -> Quorum:
    """Return the quorum that holds while PostgreSQL changes from one to the other."""
    together = tuple(sorted({*old.standbys, *new.standbys}))
    return Quorum(together, min(old.acks, new.acks)) if min(old.acks, new.acks) else Quorum()


def _plan_stop(now: Situation) -> Plan:
    running = [node for node, instance in now.seen.items() if instance.running]
    writable = [node for node in running if now.seen[node].role is Role.PRIMARY]
    stops = [StopInstance(node, "the database is to stop") for node in writable or running]
    if running or now.busy:
        return Plan(tuple(stop for stop in stops if _may_stop(now, stop.node)))
    if now.record.settled or now.record.temporary_volume is not None:
        return Plan((Remember(_changed(now.record, settled=False, temporary_volume=None)),))
    return Plan(reached=True)


def _stop_strays(now: Situation) -> Iterator[StopInstance]:
    for node, instance in now.seen.items():
        if instance.running and (reason := _stray(now, node, instance)) and _may_stop(now, node):
            yield StopInstance(node, reason)


def _stray(now: Situation, node: int, instance: Instance) -> str:
    if node not in now.spec.nodes:
        return "the node is not among the database's nodes"
    if now.record.create_new or instance.generation != now.record.generation:
        return "its data is not, or no longer, the database's"
    if instance.role is Role.PRIMARY and node != now.record.primary:
        return "another node is primary"
    return ""


def _plan_run(now: Situation) -> Plan:
    assert now.record.primary is not None
    primary, instance = now.record.primary, now.seen.get(now.record.primary)
    if instance is None:
        return Plan(blocked=_unreachable(now, primary), offline=True)
    if not usable(now.record, instance) or instance.role is not Role.PRIMARY:
        return Plan(blocked=f"n{primary} should be primary but holds no data of this database")
    if instance.state is InstanceState.STOPPED:
        return _start_primary(now, primary)
    if instance.state is not InstanceState.READY:
        return Plan()
    return _plan_standbys(now, primary, instance)


def _start_primary(now: Situation, primary: int) -> Plan:
    writable = any(
        one.running and one.role is Role.PRIMARY for node, one in now.seen.items() if node != primary
    )
    if writable or not _free(now, primary):
        return Plan()
    return Plan((StartPrimary(primary, now.record.quorum), *_start_standbys(now, primary)))


def _plan_data(now: Situation) -> Plan:
    """Find the database's data, or make it."""
    record = now.record
    missing = [node for node in now.spec.nodes if node not in now.seen]
    own = {node: one for node, one in now.seen.items() if _is_own(now, one) and node in now.spec.active}
    if own and not (missing and not record.create_new):
        node = max(own, key=lambda node: (own[node].timeline, -node))
        return Plan((Remember(_adopted(record, node, own[node])),))
    if now.busy:
        return Plan()
    if missing and not record.create_new:
        return Plan(blocked=f"{_names(missing)} must be seen to find the newest data", offline=True)
    if not record.create_new and not all(one.state is InstanceState.EMPTY for one in now.seen.values()):
        return Plan(blocked=_foreign(now))
    candidates = [node for node in now.spec.active if node in now.seen]
    if not candidates:
        return Plan(blocked=f"no active node can be reached: {_names(now.spec.active)}", offline=True)
    return Plan((Initialise(candidates[0], record.next_generation, record.create_new),))


def _is_own(now: Situation, instance: Instance) -> bool:
    """Whether an instance holds data to go on with: what was made last, else what the record or its owner says."""
    if instance.state is InstanceState.EMPTY or instance.role is not Role.PRIMARY:
        return False
    if instance.generation == now.record.next_generation:
        return True
    if now.record.create_new:
        return False
    known = now.record.generation
    return instance.generation == known if known else instance.owner == now.database


def _adopted(record: Record, node: int, instance: Instance) -> Record:
    return _changed(
        record,
        create_new=False,
        generation=instance.generation,
        next_generation="",
        system_id=instance.system_id,
        primary=node,
        timeline=instance.timeline,
        copies=(node,),
        quorum=Quorum(),
        moves=record.moves + (record.primary != node),
    )


def _foreign(now: Situation) -> str:
    holders = sorted(
        {
            one.owner or "an unknown server"
            for one in now.seen.values()
            if one.state is not InstanceState.EMPTY
        }
    )
    return (
        f"volume {now.record.volume} holds data of {', '.join(holders)}, which cannot be taken over as it is; "
        "to replace it, set create_new_db with db_configure"
    )


def _plan_standbys(now: Situation, primary: int, instance: Instance) -> Plan:
    joins = (*_start_standbys(now, primary), *_clones(now, primary))
    quorum = _quorum_step(now, primary, instance)
    if isinstance(quorum, Remember):
        return Plan((quorum,))
    actions = (*joins, quorum) if quorum else joins
    if actions or now.busy or not _all_up(now, primary):
        return Plan(actions)
    copies = _copies(now)
    if copies != now.record.copies or not now.record.settled:
        return Plan((Remember(_changed(now.record, copies=copies, settled=True)),))
    return Plan(reached=True)


def _start_standbys(now: Situation, primary: int) -> Iterator[StartStandby]:
    for node, instance in _standbys(now, primary):
        if instance.state is InstanceState.STOPPED and _may_follow(now.record, instance) and _free(now, node):
            yield StartStandby(node, primary)


def _clones(now: Situation, primary: int) -> Iterator[NodeAction]:
    for node, instance in _standbys(now, primary):
        if _free(now, node) and not _may_follow(now.record, instance):
            yield (
                StopInstance(node, "its data is no copy of the primary's")
                if instance.running
                else Clone(node, primary)
            )


def _may_follow(record: Record, instance: Instance) -> bool:
    return usable(record, instance) and instance.role is Role.STANDBY


def _standbys(now: Situation, primary: int) -> Iterator[tuple[int, Instance]]:
    return ((node, now.seen[node]) for node in now.spec.nodes if node != primary and node in now.seen)


def _all_up(now: Situation, primary: int) -> bool:
    return all(instance.state is InstanceState.READY for _, instance in _standbys(now, primary))


def _copies(now: Situation) -> tuple[int, ...]:
    """Nodes with a copy: those that are up now, and those not seen that had one."""
    return tuple(node for node in now.spec.nodes if node in now.seen or node in now.record.copies)


def _quorum_step(now: Situation, primary: int, instance: Instance) -> SetQuorum | Remember | None:
    if not _free(now, primary):
        return None
    target, recorded = _target_quorum(now, primary, instance), now.record.quorum
    if recorded == target and instance.synchronous == target.names():
        return None
    between = transition(recorded, target)
    if recorded not in (between, target):
        return Remember(_changed(now.record, quorum=between))
    return SetQuorum(primary, target, recorded)


def _target_quorum(now: Situation, primary: int, instance: Instance) -> Quorum:
    """Those that follow now or are about to again; as many acknowledgements as redundancy asks for and they can give."""
    streaming = {follower.node for follower in instance.followers if follower.state == "streaming"}
    kept = {node for node in now.record.quorum.standbys if _comes_back(now, node)}
    members = tuple(sorted(node for node in now.spec.nodes if node != primary and node in streaming | kept))
    acks = min(now.spec.redundancy - 1, len(members))
    return Quorum(members, acks) if acks > 0 else Quorum()


def _comes_back(now: Situation, node: int) -> bool:
    """A member that is only starting stays; one that is gone, or lost its data, would stop all commits."""
    if now.nodes.get(node) is not NodeState.ONLINE or node not in now.seen:
        return now.nodes.get(node) is NodeState.ONLINE
    instance = now.seen[node]
    starting = instance.state in (InstanceState.STARTING, InstanceState.READY) or node in now.busy
    return starting and _may_follow(now.record, instance)


def _may_stop(now: Situation, node: int) -> bool:
    """A start or a change of quorum may be interrupted, making and copying data ends first."""
    interruptible = isinstance(now.busy.get(node), StartPrimary | StartStandby | SetQuorum | NoneType)
    return interruptible and now.nodes.get(node) is NodeState.ONLINE


def _free(now: Situation, node: int) -> bool:
    return node not in now.busy and now.nodes.get(node) is NodeState.ONLINE


def _unreachable(now: Situation, node: int) -> str:
    state = now.nodes.get(node, NodeState.OFFLINE)
    return f"n{node}, which holds the newest data, is {'not answering' if state is NodeState.ONLINE else state.value}"


def _names(nodes: Iterable[int]) -> str:
    return ", ".join(f"n{node}" for node in nodes)


def _changed(record: Record, **changes: object) -> Record:
    return msgspec.structs.replace(record, **changes)
