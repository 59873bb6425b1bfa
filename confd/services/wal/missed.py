"""Finished WAL that PostgreSQL does not archive soon: the end of a timeline on what was a standby.

A standby has a segment archived when the next one begins. When its primary dies just then, no next one begins on that
timeline, and the standby, which goes on with another one, archives it only when it would recycle it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from confd.services.wal.segment import number_at, parse
from confd.services.wal.spool import UNFINISHED

_SWITCH: Final = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)
_STATUS: Final = "archive_status"


def missed(names: Collection[str], ends: Mapping[int, int], told: Collection[str]) -> list[str]:
    """Return the finished segments of ended timelines that nobody was told to archive, oldest first. Pure.

    :param ends: the segment in which each timeline ended, by timeline; it is not a whole one.
    :param told: names that have been archived, or will be.
    """
    segments = sorted(segment for name in names if (segment := parse(name)) is not None)
    finished = (one.name for one in segments if one.number < ends.get(one.timeline, 0))
    return [name for name in finished if name not in told]


def read_ends(history: str) -> dict[int, int]:
    """Return the segment in which each timeline of a history ended."""
    return {int(timeline): number_at(end) for timeline, end in _SWITCH.findall(history)}


def add_missed(wal: Path, spool: Path, archived: Collection[str] = ()) -> None:
    """Copy into a spool what was missed of the WAL of its data, but for what is archived already."""
    names = _names(wal)
    newest = max((name for name in names if name.endswith(".history")), default=None)
    if newest is None or not spool.is_dir():
        return
    told = {Path(name).stem for name in _names(wal / _STATUS)}.union(archived)
    for name in missed(names, read_ends((wal / newest).read_text()), told):
        fresh = spool / f"{name}{UNFINISHED}"
        # PostgreSQL may recycle it at this moment; then it has it archived before.
        with suppress(FileNotFoundError):
            shutil.copyfile(wal / name, fresh)
            fresh.rename(spool / name)


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []
