"""How a data volume changes its nodes and its redundancy. Pure: a volume in, a volume out.

A data volume has a full copy on each of its nodes, so that adding nodes takes space there and changes nothing on the
others. Invariants of every result: nodes are distinct; there are at least as many as redundancy and as master nodes;
only a move or a decrease takes a node away, and a decrease never one with a master segment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from confd.exaconf import Volume, VolumeType
from confd.model.errors import InvalidParameter, StorageDuplicate, StorageNotFound, Unsupported
from confd.model.naming import names


def check_data(volume: Volume) -> None:
    """Refuse a volume whose segments are shares of files.

    :raises Unsupported: says what to do instead.
    """
    if volume.type is VolumeType.ARCHIVE:
        raise Unsupported(
            f"volume {volume.name} is an archive volume: its files stay on the nodes they were written to; "
            "create another archive volume with the nodes and the redundancy wanted, and have backups go there"
        )


def appended(volume: Volume, masters: int, nodes: Sequence[int]) -> Volume:
    """Return the volume with further nodes, of which so many hold master segments.

    :raises InvalidParameter: more masters than nodes, or fewer nodes than the redundancy.
    :raises StorageDuplicate: a node is part of the volume already.
    """
    if masters > len(nodes):
        raise InvalidParameter(f"node_num: {masters} nodes are to be appended, node_ids has {len(nodes)}")
    if len(nodes) < volume.redundancy:
        raise InvalidParameter(
            f"node_ids: volume {volume.name} has redundancy {volume.redundancy}, so at least as many nodes are "
            f"appended at once; given are {len(nodes)}"
        )
    _check_new(volume, nodes)
    # Present copies keep their places in the list: which of them a database uses does not change.
    return msgspec.structs.replace(
        volume, nodes=(*volume.nodes, *nodes), num_master_nodes=volume.num_master_nodes + masters
    )


def moved(volume: Volume, pairs: Mapping[int, int]) -> Volume:
    """Return the volume with nodes replaced, source to destination.

    :raises StorageNotFound: a source is no node of the volume.
    :raises StorageDuplicate: a destination is.
    """
    for source in pairs:
        if source not in volume.nodes:
            raise StorageNotFound(f"n{source} has no segment of volume {volume.name}; it has {names(volume.nodes)}")
    _check_new(volume, list(pairs.values()))
    return msgspec.structs.replace(volume, nodes=exchanged(volume.nodes, pairs))


def increased(volume: Volume, delta: int, nodes: Sequence[int]) -> Volume:
    """Return the volume with more copies, on its own nodes and on those given.

    :param nodes: none, or a multiple of the master nodes; those that are new to the volume are added.
    :raises InvalidParameter: the numbers do not fit.
    """
    if len(nodes) % volume.num_master_nodes:
        raise InvalidParameter(
            f"nodes: volume {volume.name} has {volume.num_master_nodes} master nodes; give no nodes, or a multiple "
            f"of {volume.num_master_nodes} instead of {len(nodes)}"
        )
    more = tuple(node for node in nodes if node not in volume.nodes)
    wanted, there = volume.redundancy + delta, len(volume.nodes) + len(more)
    if wanted > there:
        raise InvalidParameter(
            f"delta: redundancy {wanted} needs as many nodes, volume {volume.name} has {there}; "
            "give more in nodes, or append some with st_volume_append_node"
        )
    return msgspec.structs.replace(volume, redundancy=wanted, nodes=(*volume.nodes, *more))


def decreased(volume: Volume, delta: int, node: int | None, active: Collection[int]) -> Volume:
    """Return the volume with fewer copies: as many redundancy segments go, if there are that many.

    :param node: one whose segment goes; otherwise those that stand last.
    :param active: nodes where databases of the volume serve clients.
    :raises InvalidParameter: no copy would be left, or the node has no redundancy segment.
    """
    left = volume.redundancy - delta
    if left < 1:
        raise InvalidParameter(
            f"delta: volume {volume.name} has redundancy {volume.redundancy}, so at most {volume.redundancy - 1} can go"
        )
    spare = [one for one in redundant_nodes(volume, active) if one != node]
    if node is not None and node not in redundant_nodes(volume, active):
        raise InvalidParameter(
            f"nid: n{node} has no redundancy segment of volume {volume.name}; those are on {names(spare) or 'no node'}"
        )
    first = [] if node is None else [node]
    gone = [*first, *reversed(spare)][:delta]
    return msgspec.structs.replace(volume, redundancy=left, nodes=tuple(one for one in volume.nodes if one not in gone))


def redundant_nodes(volume: Volume, active: Collection[int]) -> tuple[int, ...]:
    """Return the nodes with nothing but a further copy."""
    return tuple(node for node in volume.nodes[volume.num_master_nodes :] if node not in active)


def exchanged(nodes: Sequence[int], pairs: Mapping[int, int]) -> tuple[int, ...]:
    """Return nodes with each source replaced by its destination; a destination that is there takes turns with it."""
    swap = {**pairs, **{to: source for source, to in pairs.items() if source in nodes and to in nodes}}
    return tuple(swap.get(node, node) for node in nodes)


def _check_new(volume: Volume, nodes: Sequence[int]) -> None:
    there = [node for node in nodes if node in volume.nodes]
    if there:
        raise StorageDuplicate(f"{names(there)} is part of volume {volume.name} already; give other nodes")
