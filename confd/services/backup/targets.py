"""Opening the volumes that take backups, in the daemon or in a worker process of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from confd.cluster.host import Host
from confd.exaconf import Configuration, Volume, VolumeType
from confd.model.errors import InvalidParameter, NotFound, Unsupported
from confd.services.archive.layout import Layout, layout_of
from confd.services.archive.opening import open_archive
from confd.services.backup.target import BackupTarget


class Place(msgspec.Struct, frozen=True):
    """All that is needed to open a volume, as plain data: the node that opens it, and how the volume is laid out."""

    node: int
    root: str
    layout: Layout


def place_of(host: Host, volume: str) -> Place:
    """Return how a volume is opened on this node.

    :raises NotFound: there is no such volume.
    """
    return Place(host.node, str(host.root), layout_of(host.conf(), volume))


def open_place(place: Place) -> BackupTarget:
    """Open a volume."""
    return open_archive(place.node, Path(place.root), place.layout)


def open_target(host: Host, volume: str) -> BackupTarget:
    """Open a volume on this node by its name."""
    return open_place(place_of(host, volume))


def archive_volume(conf: Configuration, name: str | None, number: int | None, parameter: str | None = None) -> Volume:
    """Return the volume that is to take a backup; the number counts first.

    :param parameter: what gave name or number, for messages; backup_volume_id or backup_volume_name when left out.
    :raises NotFound: there is none.
    :raises InvalidParameter: it takes no files.
    :raises Unsupported: it is a remote volume.
    """
    given = parameter or ("backup_volume_name" if number is None else "backup_volume_id")
    if number is None and name is not None and name.isdigit() and name not in conf.volumes:
        number = int(name)
    for remote in conf.remote_volumes.values():
        if remote.id == number or (number is None and remote.name == name):
            raise Unsupported(
                f"{given}: backups on remote volumes ({remote.name}) are not supported yet; use an archive volume"
            )
    found = _find(conf, name, number, given)
    if found.type is not VolumeType.ARCHIVE:
        raise InvalidParameter(
            f"{given}: volume {found.name} holds databases, not backups; give an archive volume (st_volume_list shows "
            "all)"
        )
    return found


def archive_volumes(conf: Configuration) -> list[Volume]:
    """Return all volumes that can hold backups, by id."""
    known = [volume for volume in conf.volumes.values() if volume.type is VolumeType.ARCHIVE and volume.id is not None]
    return sorted(known, key=lambda volume: volume.id or 0)


def _find(conf: Configuration, name: str | None, number: int | None, given: str) -> Volume:
    if number is None:
        try:
            return conf.require_volume(name or "")
        except NotFound as error:
            raise NotFound(f"{given}: {error.message}") from None
    found = next((volume for volume in conf.volumes.values() if volume.id == number), None)
    if found is None:
        raise NotFound(f"{given}: there is no archive volume with id {number}; st_volume_list shows all")
    return found
