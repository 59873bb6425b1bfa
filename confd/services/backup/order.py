"""What is ordered and what came of it: backups and restores as runtime records carry them. Values only."""

from __future__ import annotations

import msgspec

from confd.services.backup.location import Location


class BackupOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that is being taken on a node.

    ``base`` is the path of the backup it builds on; ``began`` and ``expires`` are UTC seconds.
    """

    node: int
    volume: str
    volume_id: int
    location: Location
    base: Location | None = None
    began: float
    expires: float | None = None


class Link(msgspec.Struct, frozen=True):
    """One backup of the chain that a restore needs: path, bytes and SHA-256 of its data, bytes before compression."""

    path: str
    size: int
    sha256: str
    plain: int


class WalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Archived WAL that is replayed after a backup: from a segment on, until a time (``YYYY-MM-DD hh:mm:ss``, UTC).

    It lies on ``volume`` and, where the database changed it meanwhile, on ``further`` ones.
    """

    volume: str
    prefix: str
    first: int
    until: str
    further: tuple[str, ...] = ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """All volumes that it lies on; the first that has a segment gives it."""
        return (self.volume, *self.further)


class RestoreOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Data is made from a backup: ``chain`` lists what is fetched, level 0 first. ``database`` wrote the backup.

    With ``wal`` the data is brought to a later point in time. ``node``: it is a snapshot, and lies there.
    """

    id: str
    volume: str
    volume_id: int
    level: int
    database: str
    chain: tuple[Link, ...]
    wal: WalOrder | None = None
    node: int | None = None

    @property
    def path(self) -> str:
        """Path of the backup that is restored."""
        return self.chain[-1].path

    @property
    def lineage(self) -> tuple[str, ...]:
        """Paths of the backups that later ones of the restored data may build on.

        After a point in time the server has no summaries of what lies between, so the next backup is a full one. A
        snapshot is no backup that others build on, though its path may look like the one of a backup.
        """
        return () if self.wal or self.node is not None else tuple(link.path for link in self.chain)


class VirtualOrder(msgspec.Struct, frozen=True):
    """A backup is open for reading on a node, beside the present data; its data has a generation of its own."""

    node: int
    generation: str
    order: RestoreOrder


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation ended: ``code`` is 0 when it went well, else that of an error. ``at``: UTC seconds."""

    kind: str
    name: str
    at: float
    code: int = 0
    message: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an operation is: bytes of the database done and in all, bytes on the volume. ``ended`` when it has."""

    name: str = ""
    done: int = 0
    total: int = 0
    stored: int = 0
    ended: Ended | None = None

    @property
    def percent(self) -> int:
        """How much is done, 100 only at the end."""
        if self.ended:
            return 100
        return min(99, self.done * 100 // self.total) if self.total else 0
