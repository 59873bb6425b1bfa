"""What a stopped standby has that is not of its primary's history.

As measured with PostgreSQL 15 and 18:

* Its files are of no later state than the minimum recovery point of its control file. If another history contains that
  point, PostgreSQL follows it; otherwise it does not start, and ``pg_rewind`` takes back what is too much.
* Its WAL may go further: what was received is written before it is replayed, and a killed server replays it once more.
  PostgreSQL does so even where it knows that the other history parted before; it streams that one then without ever
  having its rows. So this WAL goes before it is started.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Final

from confd.services.database.engine.data import read_content, sync_directory
from confd.services.database.observed import History, Point

_SEGMENT_SIZE: Final = struct.Struct("=228xI")
"""pg_control of 15 to 18."""

_SEGMENT: Final = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
_HISTORY: Final = re.compile(r"([0-9A-F]{8})\.history")
_SUMMARY: Final = re.compile(r"([0-9A-F]{8})[0-9A-F]{16}([0-9A-F]{8})([0-9A-F]{8})\.summary")
_FORK: Final = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)


def read_history(data: Path, timeline: int) -> History | None:
    """Return the history of a timeline that began here; None when nothing tells it."""
    try:
        text = (data / "pg_wal" / f"{timeline:08X}.history").read_text()
    except FileNotFoundError:
        return History(timeline) if timeline == 1 else None
    return History(timeline, tuple(Point(int(one), position) for one, position in _FORK.findall(text)))


def strays(data: Path, history: History | None) -> bool:
    """Tell whether the files of a stopped standby certainly are of a later state than is part of a history."""
    content = read_content(data)
    settled = content.settled if content else None
    return settled is not None and history is not None and not history.knows(settled)


def cut(data: Path, history: History) -> None:
    """Remove the WAL of a stopped standby that is not of a history which knows what its files hold.

    Interrupted, it is completed by the next one: the newest goes first, so that no gap arises. Nothing is done by a
    history that is older than the WAL: the order comes late.
    """
    content = read_content(data)
    if content is None or content.settled is None or not history.knows(content.settled):
        return
    if content.timeline > history.timeline:
        return
    wal = data / "pg_wal"
    (size,) = _SEGMENT_SIZE.unpack_from((data / "global" / "pg_control").read_bytes())
    for path in sorted(wal.iterdir(), reverse=True):
        if found := _SEGMENT.fullmatch(path.name):
            _cut_segment(path, _begin(found, size), size, history.end(int(found[1], 16)))
        elif (found := _HISTORY.fullmatch(path.name)) and history.end(int(found[1], 16)) == 0:
            path.unlink()
    for path in (wal / "summaries").glob("*.summary"):
        if (found := _SUMMARY.fullmatch(path.name)) and not history.knows(_summarised(found)):
            path.unlink()
    sync_directory(wal)


def _cut_segment(path: Path, begin: int, size: int, end: int | None) -> None:
    if end is None or begin + size <= end:
        return
    if begin >= end:
        path.unlink()
        return
    # What follows must be empty, as after the last record that was received; segments keep their size.
    with path.open("r+b") as file:
        file.truncate(end - begin)
        file.truncate(size)
        os.fsync(file.fileno())


def _begin(segment: re.Match[str], size: int) -> int:
    return (int(segment[2], 16) << 32) + int(segment[3], 16) * size


def _summarised(summary: re.Match[str]) -> Point:
    return Point(int(summary[1], 16), f"{int(summary[2], 16):X}/{int(summary[3], 16):X}")
