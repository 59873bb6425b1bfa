"""Which nodes have an instance of a database. Pure."""

from __future__ import annotations

from collections.abc import Collection

from confd.exaconf import Database, Volume
from confd.services.database.situation import Spec


def seats(database: Database, volume: Volume, suspended: Collection[int] = ()) -> Spec:
    """Return the nodes with clients and those with further copies, where redundancy asks for more.

    An active node whose data volume has no segment there cannot have an instance: another node of the volume takes
    clients in its place.

    :param suspended: nodes that an administrator took from the database.
    """
    housed = tuple(node for node in database.active_nodes if node in volume.nodes and node not in suspended)
    others = [node for node in volume.nodes if node not in (*database.active_nodes, *suspended)]
    deputies = max(0, database.num_active_nodes - len(housed)) if len(housed) < len(database.active_nodes) else 0
    active = housed + tuple(others[:deputies])
    copies = tuple(others[deputies:][: max(0, volume.redundancy - len(active))])
    return Spec(active, copies, min(volume.redundancy, len(active) + len(copies)))
