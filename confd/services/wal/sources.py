"""Which archive volume gives which piece of a log: a database may have archived to several, in turn. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from confd.services.wal.segment import last_number, parse


def sources(found: Mapping[str, Collection[str]], first: int) -> dict[str, str]:
    """Return the volume of each file that leads on from a segment: histories, then segments in their order.

    Segments reach from the first one up to the first gap, of all timelines; a gap is what no volume has.

    :param found: names of a log's files by volume; of several volumes that have a file the first one gives it.
    """
    holders: dict[str, str] = {}
    for volume, names in found.items():
        for name in names:
            holders.setdefault(name, volume)
    segments = sorted(segment for name in holders if (segment := parse(name)) is not None)
    last = last_number({segment.number for segment in segments}, first)
    following = [one.name for one in segments if last is not None and first <= one.number <= last]
    histories = sorted(name for name in holders if parse(name) is None)
    return {name: holders[name] for name in (*histories, *following)}
