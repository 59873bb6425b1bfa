"""What is seen of the instances of a database."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """Whether an instance may write or follows another one."""

    PRIMARY = "primary"
    STANDBY = "standby"


class InstanceState(StrEnum):
    """What an instance does now; EMPTY has no data, CRASHED waits for its keeper to start it again."""

    EMPTY = "empty"
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    CRASHED = "crashed"


RUNNING_STATES = frozenset({InstanceState.STARTING, InstanceState.READY, InstanceState.STOPPING, InstanceState.CRASHED})


class Follower(msgspec.Struct, frozen=True):
    """A standby as its primary sees it."""

    node: int
    state: str
    sync: str
    flushed: str


class Place(msgspec.Struct, frozen=True):
    """Where an instance's processes are: the machine, the root of its node there, the data directory.

    ``machine`` is equal for all who see the same processes (``proof``). ``lease``: the hold of the node's lease that
    bounds how long it takes writes, of a stopped one the hold under which it would start; empty when there is none.
    """

    machine: str
    root: str
    data: str
    lease: str = ""


class Point(msgspec.Struct, frozen=True):
    """A position (``X/Y``) in the WAL of a timeline."""

    timeline: int
    position: str


class History(msgspec.Struct, frozen=True):
    """The WAL that led to what a primary holds: its timeline, and where (``forks``) those before it were left."""

    timeline: int
    forks: tuple[Point, ...] = ()

    def end(self, timeline: int) -> int | None:
        """Return where another timeline ends in this history; 0 when it is no part of it, None for the present one."""
        if timeline == self.timeline:
            return None
        return max((lsn(fork.position) for fork in self.forks if fork.timeline == timeline), default=0)

    def knows(self, point: Point) -> bool:
        """Tell whether a point lies on this history."""
        end = self.end(point.timeline)
        return end is None or lsn(point.position) <= end


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance as its node sees it.

    ``synchronous`` (the setting in force), ``followers``, ``kept`` (the nodes for which it keeps all WAL that they
    still need), ``oldest`` (where its WAL begins), ``follows`` (whom it is told to follow) and ``detached`` are known
    of a ready instance only. ``flushed`` is the end of its WAL, of a stopped one a place that it has certainly reached.
    ``detached``: it receives nothing, and ``flushed`` counts all it ever received. ``ended`` is the last record of
    a primary that was stopped in order: who has it has everything. ``paused``: it receives and does not replay.
    ``history`` is known of a primary only. ``settled``: the state of a stopped standby's files is not later, while its
    WAL may go further; None of a copy that never became consistent.

    ``certificate`` is the fingerprint of what clients are shown. ``stale``: the running server lacks something that
    the configuration says now. ``fits``: the data are of the version that the database is to run with.
    ``used``: bytes of data, of a writable instance with a quota. ``read_only``: sessions are, except for those of sys.
    ``writers``: sessions, not of sys, that write although they should not. ``lapsed``: it was stopped because the lease
    of its node ran out. ``orphan``: its server has lost its keeper.
    """

    node: int
    state: InstanceState
    role: Role | None = None
    generation: str = ""
    owner: str = ""
    system_id: str = ""
    timeline: int = 0
    restarts: int = 0
    synchronous: str = ""
    followers: tuple[Follower, ...] = ()
    kept: tuple[int, ...] = ()
    oldest: str = ""
    flushed: str = ""
    streaming: bool = False
    follows: int | None = None
    detached: bool = False
    paused: bool = False
    ended: str = ""
    history: History | None = None
    settled: Point | None = None
    place: Place | None = None
    certificate: str = ""
    stale: bool = False
    fits: bool = True
    used: int = 0
    read_only: bool = False
    writers: int = 0
    lapsed: bool = False
    orphan: bool = False

    @property
    def running(self) -> bool:
        """Whether it has, or will soon have again, server processes."""
        return self.state in RUNNING_STATES


def lsn(text: str) -> int:
    """Return a WAL position (``X/Y``) as a number; 0 for none."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16) if low else 0


class Usage(msgspec.Struct, frozen=True):
    """Bytes that an instance takes up."""

    persistent: int
    temporary: int
