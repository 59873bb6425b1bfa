"""What becomes of volumes and databases when nodes leave the cluster for good. Pure.

Invariants: no volume loses its last node, no database its last node or the node with its newest data. An archive volume
keeps its shape, because its files lie where the shape says: another node takes the place of one that leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from confd.cluster.leading.quorum import names
from confd.exaconf import Configuration, Database, Volume
from confd.model.errors import InUse, WrongState
from confd.services.archive.layout import shares_of
from confd.services.database.planning.reserves import replaced
from confd.services.database.record import Record, resuming


def check_unused(conf: Configuration, nodes: Collection[int]) -> None:
    """Refuse to remove nodes that something uses.

    :raises InUse: names what.
    """
    if used := list(_uses(conf, nodes)):
        raise InUse(
            f"{names(nodes)} is in use by {', '.join(used)}; move it away first (st_volume_move_node, "
            "db_remove_reserve_nodes), or remove it from there as well with force"
        )


def volume_without(volume: Volume, nodes: Collection[int]) -> Volume:
    """Return a data volume without some nodes; its redundancy goes down where too few are left.

    :raises WrongState: nothing would be left of what it holds.
    """
    gone = [node for node in volume.nodes if node in nodes]
    rest = tuple(node for node in volume.nodes if node not in nodes)
    if not rest:
        raise WrongState(
            f"{names(gone)} has all that there is of volume {volume.name}; move it with st_volume_move_node, or delete "
            "it with st_volume_delete"
        )
    return msgspec.structs.replace(
        volume,
        nodes=rest,
        redundancy=min(volume.redundancy, len(rest)),
        num_master_nodes=min(volume.num_master_nodes, len(rest)),
    )


def check_copies(volume: Volume, nodes: Collection[int], whole: Collection[int]) -> None:
    """Refuse to take nodes from an archive volume that may have the only copy of a file.

    :param whole: nodes that are online and miss nothing.
    :raises WrongState: says what to do.
    """
    for share in shares_of(volume):
        gone = [node for node in share.nodes if node in nodes]
        if gone and not (set(share.nodes) - set(nodes)) & set(whole):
            raise WrongState(
                f"{names(gone)} may have the only copy of files of archive volume {volume.name}; wait until the volume "
                "is ONLINE, or, if it keeps one copy of each file, have backups go elsewhere and delete it"
            )


def database_without(database: Database, nodes: Collection[int], homes: Sequence[int]) -> Database:
    """Return a database without some nodes; reserve nodes take the places of active ones, as long as there are some.

    :param homes: nodes that can take over, the best first.
    :raises WrongState: it has no other node.
    """
    if not set(database.nodes) - set(nodes):
        raise WrongState(f"database {database.name} has no other node than {names(nodes)}; delete it with db_delete")
    changed = database
    for node in (node for node in database.active_nodes if node in nodes):
        ready = [one for one in homes if one in changed.reserve_nodes and one not in nodes]
        if ready:
            changed = replaced(changed, node, ready[0])
    active = sum(node not in nodes for node in changed.active_nodes)
    rest = tuple(node for node in changed.nodes if node not in nodes)
    return msgspec.structs.replace(changed, nodes=rest, num_active_nodes=max(1, active))


def check_primary(database: Database, record: Record, nodes: Collection[int], running: Collection[int]) -> None:
    """Refuse to lose the node with the newest data.

    :param running: nodes of a running database from which it can move away.
    :raises WrongState: says what to do first.
    """
    holds = bool(record.system_id) and record.volume == database.data_volume
    if holds and record.primary in nodes and record.primary not in running:
        raise WrongState(
            f"n{record.primary} holds the newest data of database {database.name}, other copies may be older; have "
            "another node become primary first: start the database, or suspend the node with node_suspend if it is dead"
        )


def without_node(record: Record, nodes: Collection[int]) -> Record:
    """Return the runtime record of a database that knows nothing more of nodes that left."""
    return msgspec.structs.replace(
        resuming(record, nodes),
        copies=tuple(node for node in record.copies if node not in nodes),
        moving=tuple(move for move in record.moving if not {move.source, move.target} & set(nodes)),
    )


def _uses(conf: Configuration, nodes: Collection[int]) -> Iterator[str]:
    for volume in conf.volumes.values():
        if set(volume.nodes) & set(nodes):
            yield f"volume {volume.name}"
    for database in conf.databases.values():
        if set(database.nodes) & set(nodes):
            yield f"database {database.name}"
