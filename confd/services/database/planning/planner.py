"""Decides what is done next for a database. Pure: a situation in, a plan out.

A plan's actions, on different nodes, may all run at once; then the situation is observed anew. An action under way
makes its node *busy*: nothing else is planned for it, except to stop its instance.

Invariants, whatever is observed and in whatever order actions end, fail or repeat:

1. Only the node that the record names as primary is started writable or promoted, and only when no other node is seen
   writable; an instance that is writable elsewhere is stopped before anything is started. Another primary is recorded
   only when the present one is proven to be stopped (``Situation.stopped``).
2. The record is written before an action relies on it: the primary before it first starts or is promoted; the quorum
   so that it is true of every acknowledged commit at every moment (``quorum``). Who is elected has every acknowledged
   commit (``election``).
3. Data is made new only if the record says create_new, or if every node of the database is seen and none has data;
   and once: data of the next generation that is found is taken, not made again (``origin``).
4. A standby is cloned, from the running primary, only where there is no copy that can follow: same generation and
   system identifier, timeline not ahead of the record, and the primary still has the WAL that it lacks. What was
   writable, or has a state that is not part of the primary's history, is rewound, which is tried once. Neither is done
   to a member of the recorded quorum.
5. When the database is to stop, or another node is to take over, the primary stops first, so that its last WAL reaches
   the standbys.
6. Nothing is done on nodes that are offline, suspended or not seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from confd.model.states import NodeState
from confd.services.database.observed import Instance, InstanceState, Role
from confd.services.database.planning.actions import (
    Clone,
    Detach,
    Follow,
    NodeAction,
    Remember,
    Rewind,
    StartPrimary,
    StartStandby,
    StopInstance,
    Upgrade,
)
from confd.services.database.planning.election import plan_election, plan_promotion
from confd.services.database.planning.origin import plan_data
from confd.services.database.planning.quorum import quorum_step
from confd.services.database.planning.situation import (
    Plan,
    Situation,
    can_follow,
    holds,
    keeps_fork,
    lease_of,
    may_follow,
    no_lease,
    strays,
    usable,
)
from confd.services.database.planning.upkeep import plan_upkeep
from confd.services.database.planning.virtual import plan_virtual
from confd.services.database.record import Record, Wanted


def plan(now: Situation) -> Plan:
    """Return the next actions towards the wanted state."""
    if (answered := _answered(now)) != now.record:
        return Plan((Remember(answered),))
    if now.record.virtual is not None:
        return plan_virtual(now, now.record.virtual)
    if now.record.wanted is Wanted.STOPPED:
        return _plan_stop(now)
    if strays := tuple(_stop_strays(now)):
        return Plan(strays)
    if now.record.create_new or not now.record.system_id:
        return plan_data(now)
    return _plan_run(now)


def _answered(now: Situation) -> Record:
    """Return the record without the administrator's word for nodes that are back: it was about what ran before."""
    vouched = tuple(node for node in now.record.vouched if not now.online(node))
    return now.record if vouched == now.record.vouched else msgspec.structs.replace(now.record, vouched=vouched)


def _plan_stop(now: Situation) -> Plan:
    running = [node for node, instance in now.seen.items() if instance.running]
    writable = [node for node in running if now.seen[node].role is Role.PRIMARY]
    stops = (StopInstance(node, "the database is to stop") for node in writable or running)
    if running or now.busy:
        return Plan(tuple(stop for stop in stops if now.may_stop(stop.node)))
    if now.record.settled:
        return Plan((Remember(msgspec.structs.replace(now.record, settled=False)),))
    return Plan(reached=True)


def _stop_strays(now: Situation) -> Iterator[StopInstance]:
    for node, instance in now.seen.items():
        if instance.running and (reason := _stray(now, node, instance)) and now.may_stop(node):
            yield StopInstance(node, reason)


def _stray(now: Situation, node: int, instance: Instance) -> str:
    record = now.record
    if instance.orphan:
        return "its keeper is gone"
    if record.create_new or instance.generation != record.generation:
        return "its data is not, or no longer, the database's"
    if node not in now.spec.nodes and node not in (record.primary, *record.quorum.standbys):
        return "the node is not among the database's nodes"
    if instance.role is Role.PRIMARY and node != record.primary:
        return "another node is primary"
    if instance.paused:
        return "its replay is paused, as with lower limits than its primary has: it could not take over"
    return ""


def _plan_run(now: Situation) -> Plan:
    primary = now.record.primary
    if (freed := _freed(now)) != now.record:
        return Plan((Remember(freed),))
    instance = now.seen.get(primary) if primary is not None else None
    if primary is None or instance is None:
        return _plan_without(now, primary)
    if instance.generation and instance.generation == now.record.next_generation:
        return plan_data(now)
    if not holds(now.record, instance):
        return _plan_without(now, primary)
    if instance.role is Role.STANDBY:
        return plan_promotion(now, instance)
    if instance.state is InstanceState.STOPPED:
        return _plan_stopped(now, primary) if instance.fits else _upgrade(now, primary)
    if instance.state is not InstanceState.READY:
        return Plan()
    if (known := _known(now, instance)) != now.record:
        return Plan((Remember(known),))
    if now.leaves(primary) and _successor(now, instance):
        return Plan((StopInstance(primary, "another node takes over"),) if now.may_stop(primary) else ())
    return _plan_standbys(now, primary, instance)


def _freed(now: Situation) -> Record:
    """Return the record without a lease that bounds nothing any more: the store has none now."""
    place = now.record.place
    if now.leased or place is None or not place.lease:
        return now.record
    return msgspec.structs.replace(now.record, place=msgspec.structs.replace(place, lease=""))


def _plan_without(now: Situation, primary: int | None) -> Plan:
    """Plan while the primary is not to be seen or has lost its data."""
    if primary is not None and now.stopped(primary):
        return plan_election(now)
    if primary is not None and primary in now.seen:
        return Plan(blocked=f"n{primary} should be primary but holds no data of this database")
    return Plan(blocked=_unreachable(now, primary), offline=True)


def _plan_stopped(now: Situation, primary: int) -> Plan:
    """Plan for a primary that is stopped: start it, or have another one take over."""
    if now.leaves(primary) or primary in now.unable:
        elected = plan_election(now) if now.stopped(primary) else Plan()
        if not elected.blocked or primary in now.record.suspended:
            return elected
    return _start_primary(now, primary)


def _upgrade(now: Situation, primary: int) -> Plan:
    return Plan((Upgrade(primary, now.record.next_generation),) if now.free(primary) else ())


def _start_primary(now: Situation, primary: int) -> Plan:
    if now.contested(primary) or not now.free(primary):
        return Plan()
    if now.awaits_lease(now.seen[primary]):
        return Plan(blocked=no_lease(primary), offline=True)
    instance = now.seen[primary]
    known = _known(now, instance)
    if known.place != now.record.place:
        return Plan((Remember(known),))
    copies = ((node, one) for node, one in now.others(primary) if may_follow(now.record, one) and now.free(node))
    standbys = (node for node, one in copies if not one.running and not strays(one, instance))
    starts = tuple(StartStandby(node, primary, instance.history) for node in standbys)
    return Plan((StartPrimary(primary, now.record.quorum, lease_of(instance)), *starts))


def _known(now: Situation, primary: Instance) -> Record:
    """Return the record with what is seen of the primary: its timeline, and where to look whether it is dead."""
    record = now.record
    place = msgspec.structs.replace(record, place=primary.place or record.place)
    if primary.state is not InstanceState.READY:
        return place
    return msgspec.structs.replace(place, timeline=max(record.timeline, primary.timeline), promoting=False)


def _successor(now: Situation, primary: Instance) -> bool:
    streaming = {follower.node for follower in primary.followers if follower.state == "streaming"}
    return any(node in streaming and one.state is InstanceState.READY for node, one in now.others(primary.node))


def _plan_standbys(now: Situation, primary: int, instance: Instance) -> Plan:
    quorum = quorum_step(now, primary, instance)
    if isinstance(quorum, Remember):
        return Plan((quorum,))
    joins = tuple(_joins(now, instance))
    actions = (*joins, quorum) if quorum else (*joins, *plan_upkeep(now, instance))
    if actions or now.busy or not _all_follow(now, instance):
        return Plan(actions)
    copies = tuple(node for node in now.spec.nodes if node in now.seen or node in now.record.copies)
    calm = msgspec.structs.replace(now.record, copies=copies, settled=True, accept_loss=False)
    return Plan((Remember(calm),)) if calm != now.record else Plan(reached=True)


def _joins(now: Situation, primary: Instance) -> Iterator[NodeAction]:
    """What brings every standby to follow the running primary."""
    for node, instance in now.others(primary.node):
        strayed = strays(instance, primary)
        follows = can_follow(now.record, instance, primary) and not strayed and node not in now.stuck
        if instance.running and not follows and now.may_stop(node):
            why = "it has what the primary does not know" if strayed else "it cannot follow the primary"
            yield StopInstance(node, why)
        elif instance.state is InstanceState.READY and follows and now.free(node):
            if instance.follows != primary.node:
                yield _turned(instance, primary)
        elif not instance.running and now.free(node):
            if follows:
                yield StartStandby(node, primary.node, primary.history)
            elif node not in now.record.quorum.standbys:
                yield _remade(now, instance, primary)


def _turned(instance: Instance, primary: Instance) -> NodeAction:
    """Have a standby follow the primary; one of an earlier timeline receives nothing first, so that it cannot stray."""
    sure = instance.detached or primary.history is None or instance.timeline == primary.timeline
    return Follow(instance.node, primary.node) if sure else Detach(instance.node)


def _remade(now: Situation, instance: Instance, primary: Instance) -> NodeAction:
    """Rewind what has a history of its own; clone where that failed, or where histories may bear the same number."""
    node, record = instance.node, now.record
    tried = isinstance(now.failed.get(node), Rewind) or now.stuck.get(node, 0) > 1
    foreign = not usable(record, instance) or tried
    if foreign or (instance.role is Role.PRIMARY and instance.timeline >= record.timeline):
        return Clone(node, primary.node)
    strayed = strays(instance, primary) and keeps_fork(primary)
    parted = instance.role is Role.PRIMARY or node in now.stuck or strayed
    return Rewind(node, primary.node, primary.history) if parted else Clone(node, primary.node)


def _all_follow(now: Situation, primary: Instance) -> bool:
    streaming = {follower.node for follower in primary.followers if follower.state == "streaming"}
    return all(one.state is InstanceState.READY and node in streaming for node, one in now.others(primary.node))


def _unreachable(now: Situation, primary: int | None) -> str:
    state = now.nodes.get(primary, NodeState.OFFLINE) if primary is not None else NodeState.OFFLINE
    trouble = "not answering" if state is NodeState.ONLINE else state.value
    what = f"n{primary}, which holds the newest data, is {trouble}"
    if primary is not None and now.vouched(primary) and now.holds_lease(primary):
        return f"{what}, but its lease is held in the store, so it may run; stop its machine, and the lease ends"
    return f"{what}; whether it still runs cannot be seen from here"
