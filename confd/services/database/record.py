"""The runtime record of a database: what is so now, key ``database/<name>``.

Every supervisor, also one that takes over on another node, acts on this record and on what it observes, on nothing
else. The format is stable: fields are added with defaults, never renamed, and unknown ones are ignored.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final

import msgspec

from confd.cluster.host import Cluster
from confd.services.backup.order import BackupOrder, Ended, RestoreOrder, VirtualOrder
from confd.services.database.observed import Place

PREFIX: Final = "database/"


class Wanted(StrEnum):
    """The run state that an administrator asked for."""

    RUNNING = "running"
    STOPPED = "stopped"


class Quorum(msgspec.Struct, frozen=True):
    """What is known of acknowledged commits: each is on the primary and on at least ``acks`` of ``standbys``.

    Who can read ``len(standbys) - acks + 1`` of the standbys therefore finds every acknowledged commit.
    """

    standbys: tuple[int, ...] = ()
    acks: int = 0

    def names(self) -> str:
        """Return it as PostgreSQL's ``synchronous_standby_names``."""
        members = ", ".join(f"n{node}" for node in self.standbys)
        return f"ANY {self.acks} ({members})" if self.acks else ""


class Move(msgspec.Struct, frozen=True):
    """A reserve node took the place of a lost one by itself; the data volume follows if that one stays away."""

    source: int
    target: int
    since: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Runtime record of one database.

    ``generation`` names the data: instances that carry another one hold something else; empty when data of the
    database is to be found on the volume. New data gets ``next_generation``; with ``create_new`` the next start makes
    it in place of whatever the volume holds. ``settled``: all instances were up once since the
    database was wanted running, so a missing one does not make it starting again. ``flushed`` is the last WAL
    position (hexadecimal ``X/Y``) seen on the primary, a hint only. ``moves`` counts changes of the primary.
    ``promoting``: the primary is still to become writable, with ``timeline``. ``place``: where its processes are.
    ``suspended``: nodes that an administrator took from the database; of ``vouched`` ones, which did not answer then
    and have not since, he answers that nothing runs there.
    ``accept_loss``: he accepts that rows which only absent nodes have are lost.
    While segments move, ``guests`` get a copy beyond what the configuration says, and nothing relies any more on the
    copies of ``leaving`` nodes.
    ``backup`` is being taken; new data is made from ``restore``; ``virtual`` is open instead of the data; ``lineage``
    are the paths of the backups from which the present data was restored; ``last`` is how the last operation ended.
    ``aborted`` is the generation whose making an administrator gave up.
    """

    wanted: Wanted = Wanted.STOPPED
    since: float = 0.0
    maintenance: bool = False
    settled: bool = False
    generation: str = ""
    next_generation: str = ""
    create_new: bool = False
    volume: str = ""
    system_id: str = ""
    primary: int | None = None
    timeline: int = 0
    moves: int = 0
    quorum: Quorum = Quorum()
    flushed: str = ""
    copies: tuple[int, ...] = ()
    temporary_volume: int | None = None
    operation: str = ""
    promoting: bool = False
    place: Place | None = None
    suspended: tuple[int, ...] = ()
    vouched: tuple[int, ...] = ()
    accept_loss: bool = False
    moving: tuple[Move, ...] = ()
    guests: tuple[int, ...] = ()
    leaving: tuple[int, ...] = ()
    backup: BackupOrder | None = None
    restore: RestoreOrder | None = None
    virtual: VirtualOrder | None = None
    lineage: tuple[str, ...] = ()
    last: Ended | None = None
    aborted: str = ""


class Restoring(msgspec.Struct, frozen=True):
    """A restore that is under way, and the generation of the data that it makes."""

    order: RestoreOrder
    generation: str


# msgspec gets a type ready when it is first used, and crashes when two threads do so at once.
msgspec.convert({}, Record)


def new_generation() -> str:
    """Name data that is to be made."""
    return uuid.uuid4().hex


def suspending(record: Record, nodes: Collection[int], vouched: Collection[int] = ()) -> Record:
    """Return the record of a database from which nodes are taken.

    :param vouched: those of them that do not answer now, and that are dead as the administrator says.
    """
    return msgspec.structs.replace(
        record,
        suspended=tuple(sorted({*record.suspended, *nodes})),
        vouched=tuple(sorted({*record.vouched, *vouched})),
    )


def resuming(record: Record, nodes: Collection[int]) -> Record:
    """Return the record of a database that is given nodes back."""
    return msgspec.structs.replace(
        record,
        suspended=tuple(node for node in record.suspended if node not in nodes),
        vouched=tuple(node for node in record.vouched if node not in nodes),
    )


def restoring(record: Record) -> Restoring | None:
    """Return the restore of a database that is under way, or still taken back; also a backup that is being opened."""
    if record.restore is not None and record.operation:
        return Restoring(record.restore, record.next_generation)
    if record.virtual is not None and record.wanted is Wanted.RUNNING and not record.settled:
        return Restoring(record.virtual.order, record.virtual.generation)
    return None


def read_record(cluster: Cluster, database: str) -> Record | None:
    """Return the record of a database."""
    stored = cluster.record(PREFIX + database)
    return None if stored is None else msgspec.convert(stored, Record)


def write_record(cluster: Cluster, database: str, record: Record | None) -> None:
    """Write or (None) delete the record of a database; durable on return."""
    value: Any = None if record is None else msgspec.to_builtins(record)
    cluster.put_record(PREFIX + database, value)
