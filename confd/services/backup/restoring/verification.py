"""Which files a check or a restore reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from confd.services.backup.backup import Backup
from confd.services.backup.order import Link, RestoreOrder


def data_links(chain: Iterable[Backup]) -> tuple[Link, ...]:
    """Return the data of every backup of a chain."""
    return tuple(
        Link(one.path, one.status.data.size, one.status.data.sha256, one.status.data.plain)
        for one in chain
        if one.status is not None
    )


def links_of(chain: Iterable[Backup]) -> list[Link]:
    """Return data and manifest of every backup of a chain."""
    found: list[Link] = []
    for one in chain:
        if one.status is not None:
            manifest = one.status.manifest
            found += data_links([one])
            found.append(Link(one.location.metadata, manifest.size, manifest.sha256, manifest.plain))
    return found


def restore_order(chain: tuple[Backup, ...]) -> RestoreOrder:
    """Return the order to make data from the last backup of a chain."""
    last = chain[-1]
    return RestoreOrder(
        id=last.id,
        volume=last.volume_name,
        volume_id=last.volume,
        level=last.location.level,
        database=last.database,
        chain=data_links(chain),
    )
