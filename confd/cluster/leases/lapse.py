"""When a lease that is gone proves that what it bound is stopped. Pure.

The master looks again and again at the leases that the store knows. A lease proves something for a node when

* the first and the last look that miss it are at least the margin apart, on the master's own clock, from the *answer*
  to the first look to the *question* of the last one: what lies between them has certainly passed;
* no other lease of the node was made in between. Each one that is made leaves a mark in the store, which stays;
* the store knows the hold under which the instance was seen: same era, and the node's last mark is not older. A store
  that was restored from an old backup, or made anew, proves nothing.

Why that is enough: deadlines are counted from asking, so the store's count of a lease ends later than the node's does
(a store that restarts counts from the beginning); each deadline was handed out under a lease that the store had at that
time; and a later hold is no hold under which an earlier order is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from confd.cluster.leases.lease import MARGIN_SECONDS


class Look(msgspec.Struct, frozen=True):
    """What the store knew of all nodes at a moment between ``asked`` and ``answered`` (seconds, the master's clock).

    ``era`` names the store's history, ``revision`` counts its changes. ``held``: nodes whose lease is there.
    ``marks``: the revision at which each node's last hold began.
    """

    asked: float
    answered: float
    era: str
    revision: int
    held: frozenset[int]
    marks: Mapping[int, int]


class Absence(msgspec.Struct, frozen=True):
    """A lease that has been gone at every look since one that was answered at ``since``."""

    since: float
    era: str
    mark: int
    revision: int
    until: float


def follow(absences: Mapping[int, Absence], look: Look) -> dict[int, Absence]:
    """Return which leases are gone, and since when, after another look."""
    return {
        node: _continued(absences.get(node), look, mark) for node, mark in look.marks.items() if node not in look.held
    }


def proves(absence: Absence | None, name: str, margin: float = MARGIN_SECONDS) -> bool:
    """Tell whether an absence proves that what was bound under the hold of a name is stopped."""
    era, mark = hold_of(name)
    if absence is None or not mark:
        return False
    known = absence.era == era and absence.mark >= mark
    return known and absence.until - absence.since >= margin


def missing(look: Look | None, absence: Absence | None, node: int, margin: float = MARGIN_SECONDS) -> bool:
    """Tell whether a node holds no lease, for the margin if it ever held one here; that proves nothing of itself.

    It is what is asked for beside an administrator's word, where the store does not know under which hold a node was.
    """
    if look is None or node in look.held:
        return False
    return node not in look.marks or (absence is not None and absence.until - absence.since >= margin)


def name_of(era: str, mark: int) -> str:
    """Name the hold that began with a mark."""
    return f"{era}/{mark}"


def hold_of(name: str) -> tuple[str, int]:
    """Return era and mark of a hold; ``("", 0)`` for none."""
    era, _, mark = name.rpartition("/")
    return (era, int(mark)) if era and mark.isdecimal() else ("", 0)


def _continued(before: Absence | None, look: Look, mark: int) -> Absence:
    goes_on = before is not None and before.era == look.era and before.mark == mark and before.revision <= look.revision
    since = before.since if before is not None and goes_on else look.answered
    return Absence(since, look.era, mark, look.revision, max(look.asked, since))
