"""Node operations on snapshots.

Below the segment of the snapshot volume::

    snapshots/<db>/id_<n>/level_0/node_0/backup_<stamp>/snapshot.json   what it is
    snapshots/<db>/id_<n>/level_0/node_0/backup_<stamp>/data/           the copy of the data directory
    snapshots/<db>/lock                                                 held while something changes

A snapshot that is not whole has another name (``.new``), and is removed by the undo of its job, at the latest before
the next snapshot of the database.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import InsufficientSpace, StorageNotFound
from confd.model.sizes import Bytes, format_size
from confd.services.backup.location import Location, parse_path
from confd.services.backup.order import RestoreOrder
from confd.services.backup.restoring.copying import Room, as_storage_error, copy_tree, sync_tree
from confd.services.backup.snapshots.data import copy_running
from confd.services.backup.snapshots.snapshot import Snapshot
from confd.services.backup.taking.taking import Ticker
from confd.services.database.engine.data import remove, sync_directory, used
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.storage.segments import segment_directory

_SHELF: Final = "snapshots"
_ABOUT: Final = "snapshot.json"
_DATA: Final = "data"
_WAL_SEGMENT: Final = 16 << 20
_SETS: Final = "id_*/level_*/node_*/backup_*"


@operation("snapshot.take")
def take_snapshot(host: Host, volume: str, location: Location, taken: float, expires: float | None) -> None:
    """Take a snapshot of the primary on this node; fine when it is there already.

    :raises InsufficientSpace: the volume is full, also without snapshots that have expired.
    """
    server = Server(host, location.database)
    segment = segment_directory(host, volume)
    with _alone(segment, location.database) as shelf:
        place = segment / _SHELF / location.path
        for remnant in shelf.glob(f"{_SETS}.*"):
            shutil.rmtree(remnant, ignore_errors=True)
        if place.exists():
            return
        room = _room(host, segment, volume, _needed(server.place.data), taken)
        unfinished = place.with_name(f"{place.name}.new")
        try:
            _fill(server, unfinished, location, taken, expires, room)
            unfinished.rename(place)
            sync_directory(place.parent)
        except OSError as error:
            raise as_storage_error(error, place) from error
        finally:
            remove(unfinished)
    host.say(f"snapshot {location.path}: {format_size(Bytes(room.taken))}")


@operation("snapshot.list")
def list_snapshots(host: Host, volume: str, database: str) -> list[Snapshot]:
    """Return the snapshots of a database on this node."""
    try:
        shelf = segment_directory(host, volume) / _SHELF / database
    except StorageNotFound:
        return []
    return [about for _, about in _whole(shelf)]


@operation("snapshot.remove")
def remove_snapshots(host: Host, volume: str, paths: list[str]) -> None:
    """Remove snapshots, whole or not; those that are gone are fine."""
    try:
        segment = segment_directory(host, volume)
    except StorageNotFound:
        return
    for path in paths:
        with _alone(segment, parse_path(path).database):
            _remove(segment / _SHELF / path)


@operation("snapshot.remove_expired")
def remove_expired(host: Host, volume: str, database: str, now: float) -> None:
    """Remove the snapshots of a database on this node whose lifetime is over."""
    try:
        segment = segment_directory(host, volume)
    except StorageNotFound:
        return
    with _alone(segment, database) as shelf:
        for place, about in _whole(shelf):
            if about.expired(now):
                _remove(place)


def copy_back(server: Server, workshop: Workshop, order: RestoreOrder, ticker: Ticker) -> None:
    """Copy a snapshot that lies on this node to where new data is made.

    :raises StorageNotFound: it was removed.
    """
    location = parse_path(order.path)
    segment = segment_directory(server.host, order.volume)

    def tell(size: int) -> None:
        ticker.check()
        ticker.done += size

    room = Room(server.volume.size, f"data volume {server.volume.name} is too small for the snapshot", tell)
    with _alone(segment, location.database):
        source = segment / _SHELF / location.path / _DATA
        if not source.is_dir():
            raise StorageNotFound(f"there is no snapshot {order.path} on {server.host.name} any more")
        copy_tree(source, workshop.make(), room, (workshop.account.uid, workshop.account.gid))


def _fill(
    server: Server, unfinished: Path, location: Location, taken: float, expires: float | None, room: Room
) -> None:
    data = unfinished / _DATA
    data.mkdir(parents=True, mode=0o700)
    copied = copy_running(server, data, location.path, room)
    about = Snapshot(
        location=location,
        active_nodes=server.database.num_active_nodes,
        postgresql=copied.postgresql,
        generation=copied.content.marker.generation,
        system_id=copied.content.system_id,
        timeline=copied.content.timeline,
        stop=copied.stop,
        taken=taken,
        expires=expires,
        size=used(unfinished),
    )
    (unfinished / _ABOUT).write_bytes(msgspec.json.encode(about))
    sync_tree(unfinished)


def _needed(data: Path) -> int:
    """Return about how many bytes a copy of a data directory takes; of the WAL only what is written meanwhile."""
    return used(data) - used(data / "pg_wal") + _WAL_SEGMENT


def _room(host: Host, segment: Path, volume: str, needed: int, now: float) -> Room:
    """Return what is free on the volume here; expired snapshots of any database give way when that is too little."""
    size = host.conf().require_volume(volume).size
    free = size - used(segment)
    if free < needed:
        shelves = [shelf for shelf in (segment / _SHELF).iterdir() if shelf.is_dir()]
        for place, about in [found for shelf in shelves for found in _whole(shelf)]:
            if about.expired(now):
                _remove(place)
        free = size - used(segment)
    text = (
        f"snapshot volume {volume} has {format_size(Bytes(max(free, 0)))} left on {host.name}, a snapshot takes "
        f"{format_size(Bytes(needed))} or more; delete snapshots with db_snapshot_backups_delete"
    )
    if free < needed:
        raise InsufficientSpace(text)
    return Room(free, text)


def _whole(shelf: Path) -> Iterator[tuple[Path, Snapshot]]:
    """Return the snapshots that are whole, with their directories."""
    for file in sorted(shelf.glob(f"{_SETS}/{_ABOUT}")):
        if not file.parent.suffix:
            try:
                yield file.parent, msgspec.json.decode(file.read_bytes(), type=Snapshot)
            except (FileNotFoundError, msgspec.DecodeError):
                # Removed meanwhile, or not ours.
                continue


def _remove(place: Path) -> None:
    """Remove a snapshot, and the directories that only it needed."""
    remove(place.with_name(f"{place.name}.new"))
    remove(place)
    for parent in list(place.parents)[:3]:
        if not parent.is_dir() or any(parent.iterdir()):
            return
        shutil.rmtree(parent, ignore_errors=True)


@contextmanager
def _alone(segment: Path, database: str) -> Iterator[Path]:
    """Hold the lock of a database's snapshots; the directory of its snapshots is inside."""
    shelf = segment / _SHELF / database
    shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (shelf / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shelf
