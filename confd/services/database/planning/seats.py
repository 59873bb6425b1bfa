"""Which nodes have an instance of a database. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from confd.exaconf import Database, Volume
from confd.services.database.planning.situation import Spec
from confd.services.database.record import Record


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
    return Spec(active, copies, min(volume.redundancy, len(active) + len(copies)), database.volume_quota or 0)


def behind(spec: Spec, record: Record) -> tuple[int, ...]:
    """Return the nodes whose copy does not count yet: it is being made, or has not caught up.

    Where no commit waits for a copy, nobody records when one has caught up: then only what was never there counts.
    """
    counted = record.quorum.standbys if spec.redundancy > 1 else record.copies
    return tuple(node for node in spec.nodes if node != record.primary and node not in counted)


def with_guests(spec: Spec, record: Record, redundancy: int) -> Spec:
    """Return the spec while segments move: with guests, and without the nodes that are leaving."""
    active = tuple(node for node in spec.active if node not in record.leaving)
    copies = tuple(
        node
        for node in dict.fromkeys((*spec.copies, *record.guests))
        if node not in active and node not in record.leaving
    )
    return msgspec.structs.replace(
        spec, active=active, copies=copies, redundancy=min(redundancy, len(active) + len(copies))
    )
