"""What the planner decides on. Values only."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Final

import msgspec

from confd.model.states import NodeState
from confd.services.database.observed import Instance, InstanceState, Point, Role, lsn
from confd.services.database.planning.actions import (
    Action,
    Detach,
    Follow,
    NodeAction,
    Promote,
    SetQuorum,
    StartPrimary,
    StartStandby,
)
from confd.services.database.record import Record


class Spec(msgspec.Struct, frozen=True):
    """What the configuration says.

    ``active``: nodes with clients; ``copies``: nodes with further copies; ``redundancy``: how many a commit reaches.
    ``quota``: most bytes of data, 0 for no limit.
    """

    active: tuple[int, ...]
    copies: tuple[int, ...]
    redundancy: int
    quota: int = 0

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes that are to have an instance."""
        return self.active + self.copies


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision rests on.

    ``seen`` lacks nodes that did not answer; ``busy`` nodes have an action under way, or (``resting``) rest after one
    that failed. ``failed``: the last action of a node, where it failed. ``gone``: nodes that do not answer and whose
    daemon, keeper and server are proven to be dead. ``late``: nodes that should stream and have not for a while;
    ``stuck``: those that will not, with how often that was found since they last did. ``unable``: nodes on which a
    primary did not start again and again. ``leased``: what takes writes is bound to leases of the nodes; ``lapsed``:
    nodes whose lease has been gone for so long that nothing on them takes writes. ``quiet``: nodes out of service whose
    lease is seen to be gone, or that say themselves that nothing runs there.
    """

    database: str
    spec: Spec
    record: Record
    nodes: dict[int, NodeState]
    seen: dict[int, Instance]
    busy: dict[int, NodeAction] = {}
    resting: frozenset[int] = frozenset()
    failed: dict[int, NodeAction] = {}
    gone: frozenset[int] = frozenset()
    late: frozenset[int] = frozenset()
    stuck: dict[int, int] = {}
    unable: frozenset[int] = frozenset()
    leased: bool = False
    lapsed: frozenset[int] = frozenset()
    quiet: frozenset[int] = frozenset()
    virtual: InstanceState | None = None

    @property
    def cut_off(self) -> bool:
        """Whether so many nodes are out of reach that they could follow another master, who knows an older record.

        Of two nodes none ever has more than half: there, what is left goes on.
        """
        voting = [node for node, state in self.nodes.items() if state is not NodeState.SUSPENDED]
        voting = [node for node in voting if node not in self.gone]
        reached = [node for node in voting if self.online(node)]
        return len(voting) > _PAIR and 2 * len(reached) <= len(voting)

    def free(self, node: int) -> bool:
        """Whether something may be begun on a node."""
        return node not in self.busy and self.online(node)

    def online(self, node: int) -> bool:
        """Whether a node takes commands."""
        return self.nodes.get(node) is NodeState.ONLINE

    def may_stop(self, node: int) -> bool:
        """Whether an instance may be stopped: a start or change of quorum is interrupted, other work ends first."""
        return self.online(node) and isinstance(self.busy.get(node), _INTERRUPTED)

    def stopped(self, node: int) -> bool:
        """Whether a node's instance is proven to be stopped and to stay so.

        Its agent says so; or, where no agent answers, its processes are seen to be gone, or the lease of its node has
        run out, or an administrator answers for it.
        """
        if node in self.busy and node not in self.resting:
            return False
        if node in self.seen:
            return not self.seen[node].running
        return node in self.gone or node in self.lapsed or (self.vouched(node) and not self.holds_lease(node))

    def vouched(self, node: int) -> bool:
        """Whether an administrator answers for it that nothing runs on a node.

        A node that was in service when it was suspended was left by all databases first.
        """
        suspended = self.nodes.get(node) is NodeState.SUSPENDED
        return suspended or (node in self.record.vouched and not self.online(node))

    def holds_lease(self, node: int) -> bool:
        """Whether something on a node out of service may take writes under a lease, whatever anybody says."""
        return self.leased and node not in self.quiet

    def awaits_lease(self, instance: Instance) -> bool:
        """Whether an instance must not take writes yet, because its node holds no lease."""
        return self.leased and not lease_of(instance)

    def leaves(self, node: int) -> bool:
        """Whether another node is to take over from this one."""
        return node not in self.spec.nodes

    def others(self, primary: int) -> Iterator[tuple[int, Instance]]:
        """Return what is seen of the database's nodes except for the primary."""
        return ((node, self.seen[node]) for node in self.spec.nodes if node != primary and node in self.seen)

    def contested(self, primary: int) -> bool:
        """Whether another instance may take writes, on whatever node: it is stopped before this one may."""
        return any(one.running and one.role is not Role.STANDBY for node, one in self.seen.items() if node != primary)

    def missing(self) -> list[int]:
        """Return the database's nodes that are not seen."""
        return [node for node in self.spec.nodes if node not in self.seen]


_PAIR: Final = 2
_INTERRUPTED: Final = StartPrimary | StartStandby | Follow | Detach | Promote | SetQuorum | NoneType


class Plan(msgspec.Struct, frozen=True):
    """What to do now.

    ``blocked`` says why the wanted state cannot be reached, ``offline`` that a node must return for it.
    """

    actions: tuple[Action, ...] = ()
    blocked: str = ""
    offline: bool = False
    reached: bool = False


def holds(record: Record, instance: Instance) -> bool:
    """Tell whether an instance holds this database's data, of whatever history."""
    same = instance.generation == record.generation and instance.system_id == record.system_id
    return bool(instance.generation) and same


def usable(record: Record, instance: Instance) -> bool:
    """Tell whether an instance holds this database's data, possibly an older state of it."""
    return holds(record, instance) and instance.timeline <= record.timeline


def may_follow(record: Record, instance: Instance) -> bool:
    """Tell whether an instance holds a copy with which it can follow the primary."""
    return usable(record, instance) and instance.role is Role.STANDBY


def can_follow(record: Record, instance: Instance, primary: Instance) -> bool:
    """Tell whether a copy can follow this running primary, which must still have the WAL that it lacks."""
    has = max(lsn(instance.flushed), lsn(instance.settled.position) if instance.settled else 0)
    kept = instance.node in primary.kept or 0 < lsn(primary.oldest) <= has
    return may_follow(record, instance) and kept


def strays(instance: Instance, primary: Instance) -> bool:
    """Tell whether a copy certainly has a state that is not part of the primary's history: it cannot follow."""
    history = primary.history
    if history is None or instance.role is not Role.STANDBY:
        return False
    if instance.settled is not None and not history.knows(instance.settled):
        return True
    # What runs has replayed, or will have, all that it received.
    return instance.state is InstanceState.READY and not history.knows(Point(instance.timeline, instance.flushed))


def keeps_fork(primary: Instance) -> bool:
    """Tell whether a primary may still have the WAL with which a copy that strayed from it is rewound."""
    forks = primary.history.forks if primary.history else ()
    return not forks or lsn(primary.oldest) <= lsn(forks[-1].position)


def lease_of(instance: Instance) -> str:
    """Return the hold of its node's lease that bounds an instance; empty when there is none."""
    return instance.place.lease if instance.place is not None else ""


def no_lease(node: int) -> str:
    """Say why an instance does not take writes."""
    return f"n{node} cannot renew its lease in the store, without which nothing on it takes writes"
