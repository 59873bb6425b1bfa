"""Reserve nodes: who takes the place of whom, and when the data volume follows. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from confd.exaconf import Database, Volume
from confd.model.errors import InvalidParameter, WrongState
from confd.model.naming import names
from confd.model.states import NodeState
from confd.services.database.planning.situation import Situation
from confd.services.database.record import Move, Wanted

MOVE_DELAY: Final = 600
"""Seconds until the volume of a lost node moves, where the database does not say it."""


def replaced(database: Database, node: int, replacement: int) -> Database:
    """Return the database with a reserve node in the place of another node, and that one in its."""
    swap = {node: replacement, replacement: node}
    return msgspec.structs.replace(database, nodes=tuple(swap.get(one, one) for one in database.nodes))


def enlarged(database: Database, volume: Volume, count: int, suspended: Collection[int]) -> Database:
    """Return the database with so many reserve nodes turned into active ones.

    :raises InvalidParameter: there are not so many.
    :raises WrongState: the data volume is not ready for them.
    """
    free = [node for node in database.reserve_nodes if node not in suspended]
    if count > len(free):
        raise InvalidParameter(
            f"num_new_nodes: database {database.name} has {len(free)} reserve nodes ({names(free) or 'none'}), "
            f"not {count}; add some with db_add_reserve_nodes"
        )
    housed = [node for node in free if node in volume.nodes]
    wanted = database.num_active_nodes + count
    if len(housed) < count or volume.num_master_nodes != wanted:
        raise WrongState(
            f"data volume {volume.name} has {volume.num_master_nodes} master nodes and segments on "
            f"{names(volume.nodes)}; {wanted} active nodes need as many masters, with segments on the new ones: "
            "extend it with st_volume_append_node first"
        )
    new = housed[:count]
    rest = [node for node in database.reserve_nodes if node not in new]
    return msgspec.structs.replace(database, nodes=(*database.active_nodes, *new, *rest), num_active_nodes=wanted)


def lost_node(now: Situation, database: Database, volume: Volume) -> Move | None:
    """Return the lost active node that a reserve node is to replace now; None when there is none.

    Lost is a node that does not answer, whose instance has not streamed for a while, and that is not primary: a dead
    daemon alone is no loss. A reserve node with a segment of the data volume comes first.
    """
    if now.record.wanted is not Wanted.RUNNING or not now.record.settled:
        return None
    lost = [node for node in database.active_nodes if _is_lost(now, node)]
    free = [node for node in database.reserve_nodes if now.online(node) and node not in now.record.suspended]
    if not lost or not free:
        return None
    best = min(free, key=lambda node: (node not in volume.nodes, database.nodes.index(node)))
    return Move(lost[0], best, 0.0)


def _is_lost(now: Situation, node: int) -> bool:
    if node == now.record.primary:
        return False
    suspended = node in now.record.suspended or now.nodes.get(node) is NodeState.SUSPENDED
    return suspended or (not now.online(node) and node in now.late)


def noted(moving: tuple[Move, ...], move: Move) -> tuple[Move, ...]:
    """Return the moves with one more; one that is tried again keeps its time."""
    known = any((one.source, one.target) == (move.source, move.target) for one in moving)
    return moving if known else (*moving, move)


def holds_still(move: Move, now: Situation, database: Database, volume: Volume) -> bool:
    """Tell whether a replacement still asks for the volume to follow: the lost node has not returned."""
    if move.target not in database.active_nodes or move.source in database.active_nodes or now.online(move.source):
        return False
    return move.source in volume.nodes and move.target not in volume.nodes


def is_due(move: Move, now: Situation, database: Database, volume: Volume, wall: float) -> bool:
    """Tell whether the volume is to follow now: after the delay, and only if exactly one of its nodes is offline.

    That of a stopped database does not: only a running one takes its data along.
    """
    if now.record.wanted is not Wanted.RUNNING:
        return False
    delay = MOVE_DELAY if database.volume_move_delay is None else database.volume_move_delay
    offline = [node for node in volume.nodes if now.nodes.get(node) is not NodeState.ONLINE]
    return wall >= move.since + delay and offline == [move.source] and now.online(move.target)
