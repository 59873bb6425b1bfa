"""Where PostgreSQL puts finished WAL files on its node, and the command by which it does so.

``<segment of the data volume>/wal/<generation>/<name>``; a file that has its name is whole and durable. ``wal/gap`` has
the names of those that there was no room for, ``wal/volume`` the archive volume that all of them are meant for.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from confd.services.wal.segment import SIZE

GAP: Final = "gap"
VOLUME: Final = "volume"
UNFINISHED: Final = ".new"
_SWITCH_AFTER: Final = 60

_SCRIPT: Final = """\
#!/bin/sh
# PostgreSQL calls this with the path and the name of each finished WAL file.
set -e
spool={spool}
if [ "$(ls "$spool" | wc -l)" -ge {most} ]; then
    echo "$2" >> "$spool/../{gap}"
    exit 0
fi
cp -p "$1" "$spool/$2{unfinished}"
sync "$spool/$2{unfinished}"
mv -f "$spool/$2{unfinished}" "$spool/$2"
sync "$spool"
"""


def spools(segment: Path) -> Path:
    """Return the directory of all spools of a data volume's segment."""
    return segment / "wal"


def script(spool: Path, limit: int) -> str:
    """Return the program that archives one file.

    :param limit: bytes that the spool may take; at least four segments fit in any case.
    """
    return _SCRIPT.format(spool=shlex.quote(str(spool)), most=max(4, limit // SIZE), gap=GAP, unfinished=UNFINISHED)


def settings(program: Path) -> str:
    """Return the part of the server's configuration that archives every finished file, on standbys too."""
    command = f"exec sh {shlex.quote(str(program))}".replace("%", "%%") + ' "%p" "%f"'
    quoted = command.replace("\\", "\\\\").replace("'", "''")
    lines = ("archive_mode = always", f"archive_command = '{quoted}'", f"archive_timeout = {_SWITCH_AFTER}")
    return "\n".join([*lines, ""])


def waiting(spool: Path) -> list[str]:
    """Return the names of whole files, oldest first."""
    try:
        return sorted(entry.name for entry in spool.iterdir() if not entry.name.endswith(UNFINISHED))
    except (FileNotFoundError, NotADirectoryError):
        return []


def generations(segment: Path) -> list[Path]:
    """Return the spools of a segment, one for each generation of data."""
    try:
        return sorted(entry for entry in spools(segment).iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def meant_for(segment: Path) -> str:
    """Return the archive volume for which the spools were last filled; empty when none is known."""
    try:
        return (spools(segment) / VOLUME).read_text()
    except FileNotFoundError:
        return ""


def has_gap(segment: Path) -> bool:
    """Tell whether files were left out."""
    return (spools(segment) / GAP).exists()
