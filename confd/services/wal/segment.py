"""Names of WAL files, and how far a set of them reaches without a gap. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

SIZE: Final = 16 << 20
"""Bytes of a segment, as initdb makes them."""

SUFFIX: Final = ".zst"

_SEGMENT: Final = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_HISTORY: Final = re.compile(r"[0-9A-F]{8}\.history")
_PATH: Final = re.compile(rf"([^/]+)/wal/([^/]+)/([^/]+){re.escape(SUFFIX)}")
_PER_LOG: Final = (1 << 32) // SIZE


class Segment(msgspec.Struct, frozen=True, order=True):
    """A piece of the log: its number counts from the beginning of the log, whatever the timeline."""

    number: int
    timeline: int

    @property
    def name(self) -> str:
        """The name that PostgreSQL gives it."""
        return f"{self.timeline:08X}{self.number // _PER_LOG:08X}{self.number % _PER_LOG:08X}"


def parse(name: str) -> Segment | None:
    """Return the segment of this name, None when it is the name of something else."""
    match = _SEGMENT.fullmatch(name)
    if match is None:
        return None
    timeline, log, place = (int(digits, 16) for digits in match.groups())
    return Segment(log * _PER_LOG + place, timeline) if place < _PER_LOG else None


def is_kept(name: str) -> bool:
    """Tell whether a file is worth keeping: segments, and histories of timelines.

    What else PostgreSQL archives (labels of backups, the unfinished end of a timeline) no restore needs.
    """
    return parse(name) is not None or _HISTORY.fullmatch(name) is not None


def number_at(lsn: str) -> int:
    """Return the number of the segment with a WAL position (``X/Y``)."""
    high, _, low = lsn.partition("/")
    return ((int(high, 16) << 32) + int(low, 16)) // SIZE


def last_number(numbers: Collection[int], first: int) -> int | None:
    """Return how far segments reach from ``first`` on without a gap; None when already that one is missing."""
    there, last = set(numbers), first
    if first not in there:
        return None
    while last + 1 in there:
        last += 1
    return last


def directory(database: str, generation: str = "") -> str:
    """Return where WAL lies on a volume: of a database, or of one generation of its data."""
    return f"{database}/wal/{generation}/" if generation else f"{database}/wal/"


def find(path: str) -> tuple[str, str, str] | None:
    """Return whose WAL a file of a volume is (database and generation) and its name; None when it is something else."""
    match = _PATH.fullmatch(path)
    return (match[1], match[2], match[3]) if match else None
