"""What the shelves of a volume together say: which files live, what is dead, what a shelf misses. Pure.

Looks are by node, of the nodes that answered.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from confd.services.archive.index import Index
from confd.services.archive.layout import Layout
from confd.services.archive.shelf import Look

Looks = Mapping[int, Look]


class Lack(msgspec.Struct, frozen=True):
    """What one shelf should hold and does not: a file, the numbers of its parts, their bytes; maybe only the index."""

    index: Index
    parts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes to be fetched."""
        return sum(self.index.parts[number].length for number in self.parts)


def living(looks: Looks) -> dict[str, Index]:
    """Return the files that exist, by id: there is an index, and nobody knows that it was deleted."""
    dead = deleted(looks)
    return {index.id: index for look in looks.values() for index in look.files if index.id not in dead}


def by_path(looks: Looks) -> dict[str, Index]:
    """Return the files that exist by path, sorted; of two that were made on both sides of a cut network the later."""
    ordered = sorted(living(looks).values(), key=lambda index: (index.path, index.modified, index.id))
    return {index.path: index for index in ordered}


def absent(layout: Layout, looks: Looks, index: Index) -> tuple[int, ...]:
    """Return the nodes that did not answer and that alone can have some part of a file."""
    missing: set[int] = set()
    for number, part in enumerate(index.parts):
        nodes = layout.shares[part.share].nodes
        if not any(node in looks and number in looks[node].held.get(index.id, ()) for node in nodes):
            missing |= set(nodes) - set(looks)
    return tuple(sorted(missing))


def deleted(looks: Looks) -> set[str]:
    """Return the ids of which some shelf has a tombstone."""
    return {file for look in looks.values() for file in look.gone}


def undeleted(looks: Looks, node: int) -> set[str]:
    """Return the ids of which a shelf has something, though they are deleted."""
    look = looks[node]
    there = {index.id for index in look.files} | set(look.held) | set(look.left)
    return {file for file in deleted(looks) if file in there or (file in look.writing and file not in look.gone)}


def forgettable(layout: Layout, looks: Looks) -> set[str]:
    """Return the tombstones that no shelf needs any longer: all answered, and none has anything of these files."""
    if set(layout.nodes) - set(looks):
        return set()
    remains = {file for node in looks for file in undeleted(looks, node)}
    writing = {file for look in looks.values() for file in look.writing}
    return deleted(looks) - remains - writing


def dead_uploads(layout: Layout, before: Looks, after: Looks) -> set[str]:
    """Return the uploads that will never be files.

    An upload is dead when nobody holds its lock on any shelf, and afterwards no shelf has its index, among all the
    nodes that could have got it. Locks are looked at first: whoever frees one has written the index before.
    """
    nodes = set(before) & set(after)
    writing = {file for look in before.values() for file in look.writing}
    written = {index.id for look in after.values() for index in look.files}
    left = [(file, known) for look in before.values() for file, known in look.left.items()]
    undecided = {file for file, known in left if not set(known or layout.nodes) & set(layout.nodes) <= nodes}
    return {file for file, _ in left} - writing - written - undecided


def lacks(layout: Layout, looks: Looks, node: int) -> list[Lack]:
    """Return what a shelf misses, oldest files first; uploads that are being published are not missed yet."""
    look = looks[node]
    indexed = {index.id for index in look.files}
    writing = {file for look in looks.values() for file in look.writing}
    missing = []
    for index in sorted(living(looks).values(), key=lambda index: (index.modified, index.id)):
        if index.id in writing:
            continue
        parts = _missing_parts(layout, index, node, look)
        if parts or index.id not in indexed:
            missing.append(Lack(index, parts))
    return missing


def _missing_parts(layout: Layout, index: Index, node: int, look: Look) -> tuple[int, ...]:
    held = look.held.get(index.id, ())
    return tuple(
        number
        for number, part in enumerate(index.parts)
        if node in layout.shares[part.share].nodes and number not in held
    )
