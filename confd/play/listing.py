"""How far each node of a play is, and the table of ``c4 ps``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from confd.model.errors import InvalidParameter
from confd.play import processes
from confd.play.calls import is_ready, trouble
from confd.play.presence import present
from confd.play.record import Play, PlayNode, Progress
from confd.play.settings import ACCESS_NODE
from confd.play.unfinished import DATABASE, is_being_made, missing
from confd.services.database.keeper.client import KeeperClient

STAGES: Final = ("a", "a1", "b", "b1", "c", "d")
"""Resources, SSH, host scripts, packages, COS up, database up."""
_PACKAGES, _COS, _DATABASE = "b1", "c", DATABASE
_HEADERS: Final = (
    "N", "PLAY_ID", "NODE", "MEDIUM", "INSTANCE", "DB_VERSION", "EXTERNAL_IP", "INTERNAL_IP", "STAGE", "STATE",
    "UPTIME", "TTL",
)  # fmt: skip
_NOTHING: Final = "-"


class State(StrEnum):
    """What the daemon of a node does."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPED = "stopped"
    FAILED = "failed"
    REMOVED = "removed"
    UNREACHABLE = "unreachable"


class NodeStatus(msgspec.Struct, frozen=True):
    """One node: its process id (0: none), how far it is and for how many seconds, what hinders it."""

    node: PlayNode
    stage: str
    state: State
    pid: int = 0
    uptime: float | None = None
    trouble: str = ""


def look(play: Play) -> list[NodeStatus]:
    """Look at every node of a play now."""
    there = {node.node: node for node in present(play)}
    seen = [_look_at(play, there.get(node.node, node), node.node not in there) for node in play.nodes]
    if any(status.stage == _DATABASE for status in seen):
        return [_beside_database(play, status) for status in seen]
    return seen


def has_reached(seen: Iterable[NodeStatus], stage: str) -> bool:
    """Tell whether all nodes are at a stage; an access node ends at c."""
    return not short_of(seen, stage)


def short_of(seen: Iterable[NodeStatus], stage: str) -> list[NodeStatus]:
    """Return the nodes that are not at a stage yet."""
    wanted = STAGES.index(stage)
    return [
        status
        for status in seen
        if status.state is not State.REMOVED
        and STAGES.index(status.stage)
        < (min(wanted, STAGES.index(_COS)) if status.node.node == ACCESS_NODE else wanted)
    ]


def check_stage(stage: str) -> str:
    """Check the name of a stage."""
    if stage not in STAGES:
        raise InvalidParameter(f"there is no stage {stage!r}; stages are {', '.join(STAGES)}")
    return stage


def troubles(seen: Iterable[NodeStatus]) -> str:
    """Return a line for each node that runs and serves no clients, with the reason."""
    return "".join(f"\n{status.node.name} serves no clients: {status.trouble}" for status in seen if status.trouble)


def gaps(plays: Iterable[Play]) -> str:
    """Return a line for each play that nobody makes any more, with what is missing and what to do."""
    return "".join(f"\n{why}" for play in plays if (why := missing(play)))


def table(plays: Iterable[tuple[Play, Sequence[NodeStatus]]]) -> str:
    """Return the table of all nodes, columns aligned."""
    rows = [_HEADERS, *(_row(play, status) for play, seen in plays for status in seen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    right = {0, _HEADERS.index("UPTIME")}
    return "\n".join(
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def format_uptime(seconds: float | None) -> str:
    """Write an uptime as ``HH:MM:SS``, with days in front when there are any."""
    if seconds is None:
        return _NOTHING
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hour:02}:{minute:02}:{second:02}"


def _row(play: Play, status: NodeStatus) -> tuple[str, ...]:
    return (
        str(play.number), play.id, str(status.node.node), "host", _NOTHING, play.postgresql, status.node.address,
        status.node.address, status.stage, status.state, format_uptime(status.uptime), _NOTHING,
    )  # fmt: skip


def _look_at(play: Play, node: PlayNode, gone: bool) -> NodeStatus:
    pid = processes.daemon(node)
    since = processes.running_since(pid) if pid else None
    if pid is None or since is None:
        return NodeStatus(node, _PACKAGES, State.REMOVED if gone else _without_daemon(play))
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME) - since
    if gone:
        return NodeStatus(node, _PACKAGES, State.REMOVED, pid, uptime)
    if not is_ready(node.socket):
        return NodeStatus(node, _PACKAGES, State.STARTING, pid, uptime, trouble(node.socket))
    return NodeStatus(node, _DATABASE if _has_instance(node) else _COS, State.RUNNING, pid, uptime)


def _without_daemon(play: Play) -> State:
    if play.progress is Progress.MAKING:
        return State.STARTING if is_being_made(play) else State.FAILED
    return State.FAILED if play.progress is Progress.FAILED else State.STOPPED


def _has_instance(node: PlayNode) -> bool:
    # Keepers are asked, not ConfD: looking must not fill the history of jobs.
    sockets = node.runtime.glob("*.keeper")
    found = (KeeperClient(node.root, socket).status() for socket in sockets)
    return any(status is not None and status.ready for status in found)


def _beside_database(play: Play, status: NodeStatus) -> NodeStatus:
    """A reserve node is as far as the database that it stands by for."""
    stands_by = status.stage == _COS and status.node.node not in (*play.active, ACCESS_NODE)
    return msgspec.structs.replace(status, stage=_DATABASE) if stands_by else status
