"""What the planner decides on, and what it can decide. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import NoneType

import msgspec

from confd.model.states import NodeState
from confd.services.backup.order import RestoreOrder, VirtualOrder
from confd.services.database.observed import Instance, InstanceState, Role
from confd.services.database.record import Quorum, Record


class Initialise(msgspec.Struct, frozen=True, tag=True):
    """Make empty data, or data from a backup; ``replace``: whatever the volume holds there goes."""

    node: int
    generation: str
    replace: bool
    order: RestoreOrder | None = None


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
    """Bring a quorum into force on the primary, wait until the standbys have caught up; then it is recorded."""

    node: int
    quorum: Quorum
    recorded: Quorum


class StopInstance(msgspec.Struct, frozen=True, tag=True):
    """Stop the instance and its keeper."""

    node: int
    reason: str


class OpenVirtual(msgspec.Struct, frozen=True, tag=True):
    """Fetch a backup beside the data, and open it for reading."""

    node: int
    order: VirtualOrder


class CloseVirtual(msgspec.Struct, frozen=True, tag=True):
    """Stop and remove what was opened from a backup."""

    node: int


class Remember(msgspec.Struct, frozen=True, tag=True):
    """Write the runtime record; always alone in its plan."""

    record: Record


NodeAction = Initialise | StartPrimary | Clone | StartStandby | SetQuorum | StopInstance | OpenVirtual | CloseVirtual
Action = NodeAction | Remember


class Spec(msgspec.Struct, frozen=True):
    """What the configuration says.

    ``active``: nodes with clients; ``copies``: nodes with further copies; ``redundancy``: how many a commit reaches.
    """

    active: tuple[int, ...]
    copies: tuple[int, ...]
    redundancy: int

    @property
    def nodes(self) -> tuple[int, ...]:
        """All nodes that are to have an instance."""
        return self.active + self.copies


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision rests on.

    ``seen`` lacks nodes that did not answer; ``busy`` nodes have an action under way, or rest after one that failed.
    """

    database: str
    spec: Spec
    record: Record
    nodes: dict[int, NodeState]
    seen: dict[int, Instance]
    busy: dict[int, NodeAction] = {}
    virtual: InstanceState | None = None

    def free(self, node: int) -> bool:
        """Whether something may be begun on a node."""
        return node not in self.busy and self.online(node)

    def online(self, node: int) -> bool:
        """Whether a node takes commands."""
        return self.nodes.get(node) is NodeState.ONLINE

    def may_stop(self, node: int) -> bool:
        """Whether an instance may be stopped: a start or change of quorum is interrupted, other work ends first."""
        return self.online(node) and isinstance(self.busy.get(node), StartPrimary | StartStandby | SetQuorum | NoneType)

    def others(self, primary: int) -> Iterator[tuple[int, Instance]]:
        """Return what is seen of the database's nodes except for the primary."""
        return ((node, self.seen[node]) for node in self.spec.nodes if node != primary and node in self.seen)

    def missing(self) -> list[int]:
        """Return the database's nodes that are not seen."""
        return [node for node in self.spec.nodes if node not in self.seen]


class Plan(msgspec.Struct, frozen=True):
    """What to do now.

    ``blocked`` says why the wanted state cannot be reached, ``offline`` that a node must return for it.
    """

    actions: tuple[Action, ...] = ()
    blocked: str = ""
    offline: bool = False
    reached: bool = False


def usable(record: Record, instance: Instance) -> bool:
    """Tell whether an instance holds this database's data, possibly an older state of it."""
    if not instance.generation or instance.generation != record.generation:
        return False
    return instance.system_id == record.system_id and instance.timeline <= record.timeline


def may_follow(record: Record, instance: Instance) -> bool:
    """Tell whether an instance holds a copy with which it can follow the primary."""
    return usable(record, instance) and instance.role is Role.STANDBY


def can_follow(record: Record, instance: Instance, primary: Instance) -> bool:
    """Tell whether a copy can follow this running primary, which must still have the WAL that it lacks."""
    return may_follow(record, instance) and instance.node in primary.kept


def names(nodes: Iterable[int]) -> str:
    """Return nodes as people read them."""
    return ", ".join(f"n{node}" for node in nodes)


def describe(action: NodeAction) -> str:
    """Say what an action does, for the output of a job."""
    match action:
        case Initialise(node, _, _, order) if order:
            return f"n{node}: make the data from backup {order.path}"
        case Initialise(node, _, replace):
            return f"n{node}: make {'new data in place of what the volume holds' if replace else 'empty data'}"
        case StartPrimary(node):
            return f"n{node}: start as primary"
        case Clone(node, source):
            return f"n{node}: copy the data of n{source}"
        case StartStandby(node, primary):
            return f"n{node}: start as standby of n{primary}"
        case OpenVirtual(node, order):
            return f"n{node}: open backup {order.order.path} for reading"
        case CloseVirtual(node):
            return f"n{node}: close the backup"
        case SetQuorum(_, quorum) if quorum.acks:
            return f"commits now wait for {quorum.acks} of {names(quorum.standbys)}"
        case SetQuorum():
            return "commits wait for no other node"
        case StopInstance(node, reason):
            return f"n{node}: stop, {reason}"
