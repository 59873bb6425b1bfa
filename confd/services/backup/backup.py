"""A backup: what its files say of it, and which others it needs. Pure.

Backups of one volume form chains: level 0 stands alone, every other one names the backup it builds on. A backup is
*complete* when its own files are all there, and *usable* when all that it builds on is complete as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from confd.services.backup.location import Location

FORMAT = 1
"""Form of what this software writes; backups of a higher one are not usable."""


class Content(msgspec.Struct, frozen=True):
    """One file of a backup: size in bytes, SHA-256 in hexadecimal digits, size before compression."""

    size: int
    sha256: str
    plain: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What ``status_<stamp>`` holds, as JSON: the backup is whole, and this is what it is.

    ``base`` is the path of what it builds on. ``began``, ``ended`` and ``expires`` are UTC seconds; None is never.
    ``generation``, ``system_id`` and ``timeline`` name the data that was saved, ``postgresql`` the version.
    """

    format: int = FORMAT
    database: str
    active_nodes: int
    postgresql: str
    generation: str
    system_id: str
    timeline: int
    base: str | None = None
    began: float
    ended: float
    expires: float | None = None
    data: Content
    manifest: Content
    comment: str = ""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup on one volume. ``status`` is None when it is not complete.

    ``used`` counts the space of all copies of all its files, ``files`` are their paths, ``version`` is the one of its
    newest status. ``away`` says which nodes have to return before it can be read; its status may be unknown until then.
    """

    volume: int
    volume_name: str
    location: Location
    status: Status | None
    used: int
    files: tuple[str, ...]
    version: int = 0
    away: str = ""

    @property
    def id(self) -> str:
        """The id under which users name it."""
        return self.location.id(self.volume)

    @property
    def path(self) -> str:
        """Path of its data on the volume; no other backup there has it."""
        return self.location.path

    @property
    def database(self) -> str:
        """Database that it was taken of."""
        return self.location.database

    @property
    def complete(self) -> bool:
        """Whether its own files are all there."""
        return self.status is not None

    @property
    def base(self) -> str | None:
        """Path of the backup it builds on."""
        return self.status.base if self.status else None

    @property
    def expires(self) -> float | None:
        """When it expires, UTC seconds; None is never."""
        return self.status.expires if self.status else None

    def expired(self, now: float) -> bool:
        """Tell whether its lifetime is over; other backups may still need it."""
        return self.expires is not None and self.expires <= now


class Backups:
    """All backups of one volume."""

    def __init__(self, backups: Iterable[Backup]) -> None:
        self.all: tuple[Backup, ...] = tuple(sorted(backups, key=lambda backup: backup.location))
        self._by_path: Mapping[str, Backup] = {backup.path: backup for backup in self.all}

    def of(self, database: str) -> tuple[Backup, ...]:
        """Return the backups of one database."""
        return tuple(backup for backup in self.all if backup.database == database)

    def find(self, path: str) -> Backup | None:
        """Return the backup whose data has a path."""
        return self._by_path.get(path)

    def chain(self, backup: Backup) -> tuple[Backup, ...] | None:
        """Return what is needed to restore a backup, level 0 first, itself last; None when something is missing."""
        chain: list[Backup] = [backup]
        while chain[-1].complete and (base := chain[-1].base) is not None:
            found = self._by_path.get(base)
            if found is None or found.location.level >= chain[-1].location.level:
                return None
            chain.append(found)
        whole = chain[-1].complete and chain[-1].location.level == 0 and not any(one.away for one in chain)
        return tuple(reversed(chain)) if whole else None

    def usable(self, backup: Backup) -> bool:
        """Tell whether a backup can be restored, as far as can be seen without reading it."""
        return self.chain(backup) is not None

    def away(self, backup: Backup) -> str:
        """Return which nodes have to return before a backup and what it builds on can be read, empty when none."""
        return "; ".join(dict.fromkeys(one.away for one in (*self.bases(backup), backup) if one.away))

    def bases(self, backup: Backup) -> tuple[Backup, ...]:
        """Return what is there of the backups that one builds on, level 0 first."""
        found: list[Backup] = []
        step: Backup | None = backup
        while step is not None and step.base is not None and len(found) < 10:
            step = self._by_path.get(step.base)
            found += [step] if step else []
        return tuple(reversed(found))

    def dependants(self, backup: Backup) -> tuple[Backup, ...]:
        """Return the backups that build on one, directly or not."""
        found: dict[str, Backup] = {}
        paths = {backup.path}
        while paths:
            direct = [one for one in self.all if one.base in paths and one.path not in found]
            found |= {one.path: one for one in direct}
            paths = {one.path for one in direct}
        return tuple(found.values())

    def base_for(
        self, database: str, level: int, generation: str, system_id: str, lineage: Sequence[str] = ()
    ) -> Backup | None:
        """Return what a new backup of a level builds on: the newest usable one of a lower level of the same data.

        :param lineage: paths of the backups from which the data was restored; it goes on from there.
        """
        fitting = (
            backup
            for backup in self.of(database)
            if backup.status is not None
            and backup.location.level < level
            and backup.status.system_id == system_id
            and (backup.status.generation == generation or backup.path in lineage)
            and self.usable(backup)
        )
        return max(
            fitting, key=lambda backup: (backup.status.began if backup.status else 0.0, backup.path), default=None
        )

    def next_bid(self, database: str) -> int:
        """Return a number that no backup of a database on this volume has."""
        return max((backup.location.bid for backup in self.of(database)), default=0) + 1
