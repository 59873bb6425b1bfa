"""Which nodes have an instance of a database. Pure."""

from __future__ import annotations

from confd.exaconf import Database, Volume
from confd.services.database.situation import Spec


def seats(database: Database, volume: Volume) -> Spec:
    """Return the nodes with clients and those with further copies, where redundancy asks for more."""
    active = database.active_nodes
    more = max(0, volume.redundancy - len(active))
    copies = [node for node in volume.nodes if node not in active][:more]
    return Spec(active, tuple(copies), min(volume.redundancy, len(active) + len(copies)), database.volume_quota or 0)
