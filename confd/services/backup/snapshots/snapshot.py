"""Snapshots of a database: copies of its data on the nodes of its snapshot volume. Pure.

A snapshot lies whole on one node, the one that was primary. Its path is made like that of a backup, with a number of
its own; the path alone is its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from confd.exaconf import Configuration, Database, ObjectVolume, Volume, VolumeType
from confd.model.errors import InUse, InvalidParameter, Unsupported, WrongState
from confd.model.naming import names
from confd.services.backup.listing import format_minute
from confd.services.backup.location import Location, parse_path, time_of
from confd.services.backup.order import Link, RestoreOrder

_GIB: Final = 1 << 30


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself. Times are UTC seconds; ``expires`` None is never; ``size`` in bytes."""

    format: int = 1
    location: Location
    active_nodes: int
    postgresql: str
    generation: str
    system_id: str
    timeline: int
    stop: str
    taken: float
    expires: float | None = None
    size: int = 0

    @property
    def id(self) -> str:
        """The path, under which users name it."""
        return self.location.path

    def expired(self, now: float) -> bool:
        """Tell whether its lifetime is over."""
        return self.expires is not None and self.expires <= now


def is_snapshot_id(text: str) -> bool:
    """Tell whether an id is a path alone, as that of a snapshot, and not that of a backup."""
    try:
        parse_path(text.strip())
    except InvalidParameter:
        return False
    return True


def snapshot_order(snapshot: Snapshot, volume: Volume, node: int) -> RestoreOrder:
    """Return the order to make data from a snapshot that lies on a node."""
    link = Link(snapshot.id, snapshot.size, "", snapshot.size)
    location = snapshot.location
    return RestoreOrder(
        id=snapshot.id, volume=volume.name, volume_id=volume.id or 0, level=location.level,
        database=location.database, chain=(link,), node=node,
    )  # fmt: skip


def parse_snapshot_id(text: str) -> Location:
    """Read the id of a snapshot.

    :raises InvalidParameter: not one.
    """
    try:
        return parse_path(text.strip())
    except InvalidParameter:
        raise InvalidParameter(
            f"{text!r} is not the id of a snapshot: give <db>/id_<n>/level_0/node_0/backup_<YYYYMMDDhhmm> "
            "as db_snapshot_backup_list shows it"
        ) from None


def require_snapshot_volume(conf: Configuration, database: Database) -> Volume:
    """Return the snapshot volume of a database.

    :raises WrongState: it has none.
    """
    if database.snapshot_volume is None:
        raise WrongState(
            f"database {database.name} has no snapshot volume; give snapshot_sync_volume when it is created"
        )
    return conf.require_volume(database.snapshot_volume)


def check_snapshot_volume(
    conf: Configuration,
    name: str,
    data_volume: str,
    active_nodes: Iterable[int],
    parameter: str = "snapshot_sync_volume",
) -> None:
    """Refuse what cannot hold the snapshots of a database.

    :param parameter: what gave the name, for messages.
    :raises NotFound: there is no such volume.
    :raises Unsupported: it is an object volume.
    :raises InvalidParameter: it is no data volume, keeps further copies, or has no segment where snapshots are taken.
    """
    if conf.find(ObjectVolume, name) is not None:
        raise Unsupported(f"{parameter}: {name!r} is an object volume, which is not supported yet; give a data volume")
    volume = conf.require_volume(name)
    holder = next((known.name for known in conf.databases.values() if known.data_volume == name), None)
    if holder is not None:
        raise InUse(f"{parameter}: {name!r} holds the data of database {holder}; give another volume")
    if volume.type is not VolumeType.DATA or name == data_volume:
        raise InvalidParameter(f"{parameter}: {name!r} cannot take snapshots; give a data volume of its own")
    if volume.redundancy > 1:
        raise InvalidParameter(
            f"{parameter}: {name!r} has redundancy {volume.redundancy}, but a snapshot has one copy; "
            "give a volume with redundancy 1, and keep backups on an archive volume"
        )
    missing = [node for node in active_nodes if node not in volume.nodes]
    if missing:
        raise InvalidParameter(
            f"{parameter}: {name!r} has no segment on {names(missing)}; snapshots are taken where the "
            "primary is, so each active node needs one"
        )


def describe_snapshots(snapshots: Iterable[Snapshot], volume: str, now: float) -> list[dict[str, Any]]:
    """Return snapshots as ``db_snapshot_backup_list`` shows them, oldest first."""
    return [_described(one, volume, now) for one in sorted(snapshots, key=lambda one: one.location)]


def _described(snapshot: Snapshot, volume: str, now: float) -> dict[str, Any]:
    location = snapshot.location
    began = time_of(location.stamp)
    return {
        "bid": location.bid,
        "comment": "",
        "dependencies": "-",
        "expire": "" if snapshot.expires is None else format_minute(snapshot.expires),
        "expired": snapshot.expired(now),
        "id": snapshot.id,
        "last_item": True,
        "level": location.level,
        "path": location.path,
        "system": location.database,
        "timestamp": "" if began is None else format_minute(began),
        "ts": location.stamp,
        "usable": True,
        "usage": f"{snapshot.size / _GIB:.3f} GiB",
        "volume": volume,
    }
