"""The data directory of an instance on disk: whose it is, what it holds, how it is removed."""

from __future__ import annotations

import os
import re
import shutil
import struct
from pathlib import Path
from typing import Final

import msgspec

from confd.services.database.engine.layout import Account
from confd.services.database.engine.limits import needed_limits
from confd.services.database.observed import Point, Role

MARKER: Final = "confd.json"
"""Inside the data directory, so that a clone has it too."""

_CONTROL: Final = struct.Struct("=QIIi4xqQQI")
"""pg_control of 15 to 18: system id, format, catalogue, state, time, checkpoint, redo, timeline."""

_RECOVERY: Final = struct.Struct("=136xQI4xQQ?")
"""The same: minimum recovery point, its timeline; of a base backup that is not consistent yet: start, end, whether its
end is still to come."""

_SHUT_DOWN: Final = 1
_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")


class Marker(msgspec.Struct, frozen=True):
    """Whose data it is."""

    database: str
    generation: str


class Content(msgspec.Struct, frozen=True):
    """What a complete data directory says of itself.

    ``redo``: a position that its WAL has certainly reached. ``ended``: its last record, if it was shut down in order
    as a primary. ``settled``: the files of a standby are of no later state; None of a copy that was never consistent.
    """

    marker: Marker
    system_id: str
    timeline: int
    role: Role
    redo: str = ""
    ended: str = ""
    major: int = 0
    settled: Point | None = None


def read_content(data: Path) -> Content | None:
    """Return what a data directory holds, None when it does not exist."""
    try:
        control = (data / "global" / "pg_control").read_bytes()
        marker = msgspec.json.decode((data / MARKER).read_bytes(), type=Marker)
        major = int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None if not data.exists() else Content(Marker("", ""), "", 0, Role.PRIMARY)
    system_id, _, _, state, _, checkpoint, redo, timeline = _CONTROL.unpack_from(control)
    role = Role.STANDBY if (data / "standby.signal").exists() else Role.PRIMARY
    ended = _position(checkpoint) if state == _SHUT_DOWN else ""
    newest = max(timeline, _newest_timeline(data))
    settled = _settled(data, control) if role is Role.STANDBY else None
    return Content(marker, str(system_id), newest, role, _position(redo), ended, major, settled)


def _settled(data: Path, control: bytes) -> Point | None:
    position, timeline, begin, end, unfinished = _RECOVERY.unpack_from(control)
    label = data / "backup_label"
    copied = label.exists() and "pg_rewind" not in label.read_text()
    return None if copied or begin or end or unfinished or not position else Point(timeline, _position(position))


def limits_of_standby(data: Path) -> dict[str, int]:
    """Return the limits with which a standby starts at least; nothing of data that is none."""
    if not (data / "standby.signal").exists():
        return {}
    return needed_limits((data / "global" / "pg_control").read_bytes())


def _newest_timeline(data: Path) -> int:
    """Return the timeline of the newest WAL: the control file learns of a new one with the next checkpoint only."""
    try:
        names = [entry.name for entry in os.scandir(data / "pg_wal")]
    except FileNotFoundError:
        return 0
    return max((int(name[:8], 16) for name in names if _SEGMENT.fullmatch(name)), default=0)


def _position(value: int) -> str:
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


def write_marker(data: Path, marker: Marker, account: Account) -> None:
    """Say whose data it is."""
    write_owned(data / MARKER, msgspec.json.encode(marker).decode(), account)


def write_owned(path: Path, text: str, account: Account) -> None:
    """Replace a file, readable for its owner only; an unchanged one is left alone."""
    if path.exists() and path.read_text() == text:
        return
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        if os.getuid() == 0:
            os.fchown(file.fileno(), account.uid, account.gid)
        os.fsync(file.fileno())
    fresh.rename(path)


def remove(directory: Path) -> None:
    """Remove a data directory; what is half removed never has its name."""
    if directory.exists():
        dead = directory.with_name(f"{directory.name}.dead")
        shutil.rmtree(dead, ignore_errors=True)
        directory.rename(dead)
    shutil.rmtree(directory.with_name(f"{directory.name}.dead"), ignore_errors=True)


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def used(directory: Path) -> int:
    """Return the bytes that files below a directory take up."""
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                total += _used(entry)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return total


def _used(entry: os.DirEntry[str]) -> int:
    if entry.is_dir(follow_symlinks=False):
        return used(Path(entry.path))
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return 0
