"""What a serving database needs beside its instances: present settings, and its quota kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from confd.services.database.observed import Instance, InstanceState
from confd.services.database.planning.actions import Refresh, Restrict
from confd.services.database.planning.situation import Situation


def plan_upkeep(now: Situation, primary: Instance) -> Iterator[Refresh | Restrict]:
    """Return what is to do on nodes that are free; at most one thing per node."""
    for node in now.spec.nodes:
        instance = now.seen.get(node)
        if instance is not None and instance.stale and instance.state is InstanceState.READY and now.free(node):
            yield Refresh(node)
    if not primary.stale and now.free(primary.node) and (wanted := _restriction(now, primary)) is not None:
        yield Restrict(primary.node, wanted)


def _restriction(now: Situation, primary: Instance) -> bool | None:
    """Whether the primary is to be made read-only (or writable) now; None leaves it as it is."""
    full = bool(now.spec.quota) and primary.used >= now.spec.quota
    if full != primary.read_only:
        return full
    return True if full and primary.writers else None
