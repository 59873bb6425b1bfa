"""Archive volumes whose nodes change: another node takes the place of one that leaves."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from confd.exaconf import Volume
from confd.jobs.observing import check_not_written, free_devices
from confd.model.errors import InsufficientSpace, NodeOffline, WrongState
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.services.archive.upkeep import Upkeep
from confd.services.nodes.removal import check_copies
from confd.services.storage.description import shape_of
from confd.services.storage.placement import place_on
from confd.services.storage.places import node_devices
from confd.services.storage.reshaping import moved
from confd.services.storage.segments import Extent, create_segment, delete_segment


def archive_without(ctx: Context, volume: Volume, nodes: Collection[int], states: dict[int, NodeState]) -> Volume:
    """Return an archive volume with other nodes in the places of some; their space is reserved.

    They get their files from the other copies, as after any loss.

    :raises WrongState: files would be lost, or no node can take the place.
    :raises InUse: the volume is being written.
    """
    check_not_written(ctx, volume)
    behind = ctx.learn("behind", lambda: list(ctx.service(Upkeep).health(volume.name).behind))
    online = [node for node, state in states.items() if state is NodeState.ONLINE and node not in nodes]
    check_copies(volume, nodes, set(online) - set(behind))
    changed = volume
    for node in (node for node in volume.nodes if node in nodes):
        changed = _replaced(ctx, changed, node, [one for one in online if one not in changed.nodes])
    return changed


def _replaced(ctx: Context, volume: Volume, node: int, candidates: Sequence[int]) -> Volume:
    for candidate in candidates:
        changed = moved(volume, {node: candidate})
        extents = _room(ctx, changed, candidate)
        if extents and volume.id is not None:
            devices = [name for _, name in node_devices(ctx.committed, candidate, volume.disk)]
            ctx.run(
                create_segment.on(candidate, volume=volume.name, vid=volume.id, maker=ctx.job_id, extents=extents),
                undo=delete_segment.on(candidate, vid=volume.id, devices=devices, maker=ctx.job_id),
            )
            ctx.warn(f"n{candidate} takes the place of n{node} in archive volume {volume.name} and gets its files now")
            return changed
    raise WrongState(
        f"archive volume {volume.name} needs another node in the place of n{node}: one that is online, has disk "
        f"{volume.disk} with enough free space, and is not part of the volume; add one with node_add"
    )


def _room(ctx: Context, volume: Volume, node: int) -> list[Extent]:
    """Return where a node has room for its part of a volume; nothing when it has none."""
    try:
        devices = free_devices(ctx, [node], volume.disk)[node]
        return place_on(shape_of(volume), node, volume.disk, devices)
    except (InsufficientSpace, NodeOffline):
        return []
