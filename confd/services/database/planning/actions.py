"""What the planner can decide: actions on the nodes of a database, and their words. Values only."""

from __future__ import annotations

import msgspec

from confd.model.naming import names
from confd.services.backup.order import RestoreOrder, VirtualOrder
from confd.services.database.observed import History
from confd.services.database.record import Quorum, Record


class Initialise(msgspec.Struct, frozen=True, tag=True):
    """Make empty data, or data from a backup; ``replace``: whatever the volume holds there goes."""

    node: int
    generation: str
    replace: bool
    order: RestoreOrder | None = None


class Upgrade(msgspec.Struct, frozen=True, tag=True):
    """Bring the data of the stopped primary to the version that the database is to run with."""

    node: int
    generation: str


class StartPrimary(msgspec.Struct, frozen=True, tag=True):
    """Write configuration and start, writable, with this quorum in force, under this hold of the node's lease."""

    node: int
    quorum: Quorum
    lease: str = ""


class Clone(msgspec.Struct, frozen=True, tag=True):
    """Copy the primary's data."""

    node: int
    source: int


class StartStandby(msgspec.Struct, frozen=True, tag=True):
    """Write configuration and start as follower of the primary; of nobody when None.

    ``history`` of the primary, as far as it is known: WAL that is not part of it goes first.
    """

    node: int
    primary: int | None
    history: History | None = None


class Follow(msgspec.Struct, frozen=True, tag=True):
    """Have a running standby follow the primary."""

    node: int
    primary: int


class Detach(msgspec.Struct, frozen=True, tag=True):
    """Have a running standby receive no more WAL, whoever its primary is."""

    node: int


class Promote(msgspec.Struct, frozen=True, tag=True):
    """Make a detached standby writable, with this quorum in force from the first moment, as for StartPrimary.

    ``timeline`` is the number of the timeline that it begins.
    """

    node: int
    quorum: Quorum
    lease: str = ""
    timeline: int = 0


class Rewind(msgspec.Struct, frozen=True, tag=True):
    """Take back what a stopped instance has beyond the primary's history; it is a standby then."""

    node: int
    source: int
    history: History | None = None


class SetQuorum(msgspec.Struct, frozen=True, tag=True):
    """Bring a quorum into force on the primary, wait until the standbys have caught up; then it is recorded."""

    node: int
    quorum: Quorum
    recorded: Quorum


class Refresh(msgspec.Struct, frozen=True, tag=True):
    """Bring a running instance in line with the configuration."""

    node: int


class Restrict(msgspec.Struct, frozen=True, tag=True):
    """Let nobody but sys write, or everybody again."""

    node: int
    read_only: bool


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


NodeAction = (
    Initialise
    | Upgrade
    | StartPrimary
    | Clone
    | Rewind
    | StartStandby
    | Follow
    | Detach
    | Promote
    | SetQuorum
    | Refresh
    | Restrict
    | StopInstance
    | OpenVirtual
    | CloseVirtual
)
Action = NodeAction | Remember


def describe(action: NodeAction) -> str:
    """Say what an action does, for the output of a job."""
    match action:
        case Initialise(node, _, _, order) if order:
            return f"n{node}: make the data from backup {order.path}"
        case Initialise(node, _, replace):
            return f"n{node}: make {'new data in place of what the volume holds' if replace else 'empty data'}"
        case Upgrade(node):
            return f"n{node}: bring the data to the version that is to run"
        case StartPrimary(node):
            return f"n{node}: start as primary"
        case Clone(node, source):
            return f"n{node}: copy the data of n{source}"
        case StopInstance(node, reason):
            return f"n{node}: stop, {reason}"
        case SetQuorum(_, quorum) if quorum.acks:
            return f"commits now wait for {quorum.acks} of {names(quorum.standbys)}"
        case SetQuorum():
            return "commits wait for no other node"
        case Refresh(node):
            return f"n{node}: take over changed settings"
        case Restrict(node, read_only):
            return f"n{node}: {'at its quota: only sys may write' if read_only else 'below its quota: all may write'}"
        case _:
            return _describe_copy(action)


def _describe_copy(action: Rewind | StartStandby | Follow | Detach | Promote | OpenVirtual | CloseVirtual) -> str:
    """Say what is done with what is not the primary."""
    match action:
        case OpenVirtual(node, order):
            return f"n{node}: open backup {order.order.path} for reading"
        case CloseVirtual(node):
            return f"n{node}: close the backup"
        case Rewind(node, source, _):
            return f"n{node}: take back what n{source} does not know"
        case StartStandby(node, None, _):
            return f"n{node}: start to see how far its copy goes"
        case StartStandby(node, primary, _):
            return f"n{node}: start as standby of n{primary}"
        case Follow(node, primary):
            return f"n{node}: follow n{primary}"
        case Detach(node):
            return f"n{node}: follow nobody"
        case Promote(node):
            return f"n{node}: become primary"
