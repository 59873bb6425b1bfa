"""Sets a server up to archive its WAL, before it starts."""

from __future__ import annotations

from typing import Final

from confd.exaconf import Database, Volume
from confd.services.database.engine.data import read_content, write_owned
from confd.services.database.engine.layout import DataPlace, Layout, make_directory
from confd.services.wal.spool import VOLUME, script, settings, spools

SETTINGS: Final = "archive.conf"
"""Included by the server's configuration where it exists."""

_PROGRAM: Final = "archive.sh"
_SHARE: Final = 8
_LEAST: Final = 256 << 20


def prepare(database: Database, volume: Volume, layout: Layout, place: DataPlace) -> None:
    """Write what has the server archive its WAL, or take it away."""
    path, content = layout.config / SETTINGS, read_content(place.data)
    if not database.wal_archive_volume or content is None:
        path.unlink(missing_ok=True)
        return
    spool = spools(place.segment) / content.marker.generation
    for directory in (spool.parent, spool):
        make_directory(directory, layout.account)
    write_owned(spool.parent / VOLUME, database.wal_archive_volume, layout.account)
    program = layout.config / _PROGRAM
    write_owned(program, script(spool, max(volume.size // _SHARE, _LEAST)), layout.account)
    write_owned(path, settings(program), layout.account)
