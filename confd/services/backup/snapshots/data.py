"""Copies the data of a running server, consistently.

The copy is taken between ``pg_backup_start`` and ``pg_backup_stop``; the WAL of that time, which a slot keeps, is part
of it, so it needs nothing else to be started.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.model.errors import NodeError, Unsupported, WrongState
from confd.services.backup.restoring.copying import Room, copy_file, copy_tree
from confd.services.database.engine.data import Content, read_content
from confd.services.database.engine.server import Server

CONTROL: Final = "global/pg_control"

_EMPTIED: Final = (
    "pg_dynshmem/", "pg_notify/", "pg_replslot/", "pg_serial/", "pg_snapshots/", "pg_stat_tmp/", "pg_subtrans/",
)  # fmt: skip
_LEFT_OUT: Final = frozenset(
    {
        CONTROL, "postmaster.pid", "postmaster.opts", "backup_label", "tablespace_map", "backup_manifest",
        "postgresql.auto.conf.tmp", "current_logfiles", "current_logfiles.tmp", "standby.signal", "recovery.signal",
    }
)  # fmt: skip
_WAL_DIRECTORIES: Final = frozenset({"pg_wal/archive_status", "pg_wal/summaries"})
_WAL: Final = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}\.history")
_START: Final = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", re.MULTILINE)
_SLOT: Final = "confd_snapshot"

_BEGIN: Final = "SELECT pg_backup_start(%s, true)"
_KEEP_WAL: Final = "SELECT pg_create_physical_replication_slot(%s, true, true)"
_END: Final = "SELECT lsn::text, labelfile, pg_walfile_name(lsn) FROM pg_backup_stop(false)"
_FACTS: Final = """
    SELECT pg_is_in_recovery(), current_setting('server_version'),
           EXISTS (SELECT FROM pg_tablespace WHERE oid >= 16384)
"""


class Copied(msgspec.Struct, frozen=True):
    """What was copied: version of the server, what its data says, the WAL position at which it is consistent."""

    postgresql: str
    content: Content
    stop: str


def copy_running(server: Server, target: Path, label: str, room: Room) -> Copied:
    """Copy the data of the running primary into an empty directory.

    :raises WrongState: the server here is not the primary.
    :raises InsufficientSpace: there is not enough room; what was copied is left to the caller.
    """
    content = read_content(server.place.data)
    if content is None:
        raise WrongState(f"{server.database.name} has no data on {server.host.name}")
    with server.admin.session() as connection:
        version = _check(connection, server)
        connection.execute(_KEEP_WAL, (f"{_SLOT}_{os.urandom(4).hex()}",))
        connection.execute(_BEGIN, (label,))
        copy_tree(server.place.data, target, room, skip=is_left_out)
        copy_file(server.place.data / CONTROL, target / CONTROL, room)
        row = connection.execute(_END).fetchone()
        assert row is not None
        stop, text, last = row
        _copy_wal(server.place.data / "pg_wal", target / "pg_wal", text, last, room)
    (target / "backup_label").write_text(text)
    return Copied(version, content, stop)


def is_left_out(path: str) -> bool:
    """Tell whether a path in a data directory is of no use in a copy: what belongs to the running server, and WAL."""
    name = path.rpartition("/")[2]
    if path in _LEFT_OUT or path.startswith(_EMPTIED) or name.startswith(("pgsql_tmp", "pg_internal.init")):
        return True
    return path.startswith("pg_wal/") and path not in _WAL_DIRECTORIES


def _check(connection: Any, server: Server) -> str:
    standby, version, tablespaces = connection.execute(_FACTS).fetchone()
    if standby:
        raise WrongState(f"{server.host.name} is not the primary of {server.database.name} any more; try again")
    if tablespaces:
        raise Unsupported(
            f"database {server.database.name} has tablespaces outside of its volume; a snapshot would miss them: "
            "drop them, or use db_backup_start"
        )
    return str(version).partition(" ")[0]


def _copy_wal(source: Path, target: Path, label: str, last: str, room: Room) -> None:
    match = _START.search(label)
    if match is None:
        raise NodeError("the server did not say where the WAL of the snapshot begins")
    first = match[1]
    names = sorted(path.name for path in source.iterdir() if _WAL.fullmatch(path.name))
    wanted = [name for name in names if first <= name <= last and "." not in name]
    if not wanted or (wanted[0], wanted[-1]) != (first, last):
        raise NodeError("the server recycled WAL of the snapshot meanwhile; take it again when it writes less")
    for name in (*wanted, *(name for name in names if name.endswith(".history"))):
        copy_file(source / name, target / name, room)
