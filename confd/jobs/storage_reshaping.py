"""Storage of the cluster: volumes that get other nodes or another redundancy, also under a running database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from confd.cluster.operations import MASTER, Command
from confd.exaconf import Database, Volume
from confd.jobs import locks
from confd.jobs.observing import ask, free_devices
from confd.jobs.types import Count, NodeId, NodeIds, VolumeAlias, VolumeId
from confd.jobs.volumes import check_disk, find_volume
from confd.model.errors import InUse, InvalidParameter, WrongState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, Allow, LockRule, Substitute, job
from confd.services.backup.snapshots.operations import list_snapshots
from confd.services.database.instance.departure import open_access
from confd.services.database.planning.seats import seats
from confd.services.database.record import PREFIX, Record, Wanted
from confd.services.database.supervision.moving import move, moved, stay, withdraw
from confd.services.storage import reshaping
from confd.services.storage.description import shape_of
from confd.services.storage.placement import place
from confd.services.storage.places import node_devices
from confd.services.storage.segments import create_segment, delete_segment, segment_usage

_STORAGE: Final = Allow(users=("root",), groups=("root", "exastoradm", "exaadm"))
_NUMBER_OR_NAME: Final = Substitute("vid", "vname")
OwnNodeId = Annotated[NodeId, Rule(own=True)]
_VOLUME: Final = ("vname", "vid")
_SHAPE: Final = [locks.volume(*_VOLUME), locks.databases_of_volume(*_VOLUME, share=True)]


def _room(nodes: str) -> list[LockRule]:
    """What a job claims that reserves space of a volume on further nodes."""
    return [locks.space_of_volume(nodes, *_VOLUME), locks.node(nodes, share=True)]


class Use(msgspec.Struct, frozen=True):
    """A database whose data volume is the one in question, and its runtime record."""

    database: Database
    record: Record

    @property
    def runs(self) -> bool:
        """Whether it is wanted running."""
        return self.record.wanted is Wanted.RUNNING

    @property
    def holds(self) -> bool:
        """Whether it has data on the volume."""
        return bool(self.record.system_id) and self.record.volume == self.database.data_volume


@job(
    MODIFY,
    allow=_STORAGE,
    locks=[
        *_SHAPE,
        *_room("node_ids"),
    ],
    substitutes=[_NUMBER_OR_NAME],
)
def st_volume_append_node(
    ctx: Context, vid: VolumeId | None, node_num: Count, node_ids: NodeIds, *, vname: VolumeAlias | None = None
) -> None:
    """Add nodes to a data volume; its space is reserved on them at once.

    A running database is not disturbed: it uses the nodes once db_enlarge makes them active.

    :param node_num: How many of the nodes get master segments; the others hold further copies.
    :param node_ids: Ids of the new nodes, at least as many as the redundancy of the volume.

    Examples:
    {vid: 0, node_ids: [12], node_num: 1}
    {vname: DataVolume1, node_num: 2, node_ids: [14, 15]}

    """
    volume = _data_volume(ctx, vid, vname)
    grown = reshaping.appended(volume, node_num, node_ids)
    _reserve(ctx, grown, node_ids)
    ctx.conf.put(grown)


@job(
    MODIFY,
    allow=_STORAGE,
    locks=[
        locks.volume(*_VOLUME),
        locks.databases_of_volume(*_VOLUME),
        *_room("dst_nodes"),
    ],
    substitutes=[_NUMBER_OR_NAME],
)
def st_volume_move_node(
    ctx: Context, vid: VolumeId | None, src_nodes: NodeIds, dst_nodes: NodeIds, *, vname: VolumeAlias | None = None
) -> None:
    """Move the segments of a data volume to other nodes; a running database goes on meanwhile.

    Its copies are made on the destinations first; what the sources hold is destroyed at the end. In the databases of
    the volume each destination takes the place of its source; a reserve node changes places with it.

    :param src_nodes: Ids of the nodes to leave; they may be offline.
    :param dst_nodes: Ids of the nodes to go to, as many.

    Examples:
    {vname: DataVolume1, src_nodes: [11], dst_nodes: [12]}
    {vname: data_vol, src_nodes: [12], dst_nodes: [22]}

    """
    if len(src_nodes) != len(dst_nodes):
        raise InvalidParameter(
            f"dst_nodes: {len(dst_nodes)} destinations for {len(src_nodes)} sources; give as many as src_nodes"
        )
    volume, pairs = _data_volume(ctx, vid, vname), dict(zip(src_nodes, dst_nodes, strict=True))
    after, using = reshaping.moved(volume, pairs), _using(ctx, volume)
    running = next((use for use in using if use.runs), None)
    _check_snapshots(ctx, volume, src_nodes)
    _check_movable(ctx, volume, src_nodes, using, running)
    _reserve(ctx, after, dst_nodes, running)
    if running is not None:
        _move_copies(ctx, running, volume, pairs)
    ctx.conf.put(after)
    for use in using:
        ctx.conf.put(_with_places(use.database, pairs))
    _give_up(ctx, volume, src_nodes, running)


@job(
    MODIFY,
    allow=_STORAGE,
    locks=[
        *_SHAPE,
        *_room("nodes"),
    ],
    substitutes=[_NUMBER_OR_NAME],
)
def st_volume_increase_redundancy(
    ctx: Context, vid: VolumeId | None, delta: Count, *, nodes: NodeIds | None = None, vname: VolumeAlias | None = None
) -> None:
    """Raise the redundancy of a data volume: commits of its database then reach more nodes.

    The job ends when the space is reserved; while copies are made the volume is RECOVERING, then ONLINE.

    :param delta: Number of levels to add.
    :param nodes: Ids of nodes for the further copies, a multiple of the master nodes; the volume's own when left out.

    Examples:
    {vname: DataVolume1, delta: 1}

    """
    volume = _data_volume(ctx, vid, vname)
    raised = reshaping.increased(volume, delta, nodes or [])
    _reserve(ctx, raised, [node for node in raised.nodes if node not in volume.nodes])
    ctx.conf.put(raised)


@job(
    MODIFY,
    allow=_STORAGE,
    locks=_SHAPE,
    substitutes=[_NUMBER_OR_NAME],
)
def st_volume_decrease_redundancy(
    ctx: Context,
    vid: VolumeId | None,
    delta: Count,
    *,
    nid: OwnNodeId | None = None,
    vname: VolumeAlias | None = None,
) -> None:
    """Lower the redundancy of a data volume and free its redundancy segments, where there are any.

    :param delta: Number of levels to drop; one must be left.
    :param nid: Id of a node whose redundancy segment goes; those that stand last when left out.

    Examples:
    {vname: DataVolume1, delta: 1}

    """
    volume = _data_volume(ctx, vid, vname)
    using = _using(ctx, volume)
    lowered = reshaping.decreased(volume, delta, nid, {node for use in using for node in use.database.active_nodes})
    gone = [node for node in volume.nodes if node not in lowered.nodes]
    _check_snapshots(ctx, volume, gone)
    for use in using:
        if use.record.primary in gone and use.holds:
            raise WrongState(
                f"n{use.record.primary} holds the newest data of database {use.database.name}, from which the other "
                "copies are made; give another node in nid"
            )
    ctx.conf.put(lowered)
    _give_up(ctx, volume, gone, next((use for use in using if use.runs or use.holds), None))


def _with_places(database: Database, pairs: Mapping[int, int]) -> Database:
    """Have destinations take the places of sources; one that took over from a lost source before keeps its own."""
    active, reserve = database.active_nodes, database.reserve_nodes
    taken = {source: to for source, to in pairs.items() if not (source in reserve and to in active)}
    return msgspec.structs.replace(database, nodes=reshaping.exchanged(database.nodes, taken))


def _data_volume(ctx: Context, vid: int | None, vname: str | None) -> Volume:
    volume = find_volume(ctx.committed, vid, vname)
    reshaping.check_data(volume)
    if volume.id is None:
        raise WrongState(f"volume {volume.name} has no id, so there are no segments of it; delete it and make it anew")
    return volume


def _using(ctx: Context, volume: Volume) -> list[Use]:
    databases = [one for one in ctx.committed.databases.values() if one.data_volume == volume.name]
    stored = ctx.learn("records", lambda: [ctx.record(PREFIX + database.name) for database in databases])
    records = [Record() if one is None else msgspec.convert(one, Record) for one in stored]
    return [Use(database, record) for database, record in zip(databases, records, strict=True)]


def _check_snapshots(ctx: Context, volume: Volume, nodes: Sequence[int]) -> None:
    """Refuse to give up segments with snapshots, which have no other copy.

    :raises InUse: names node and database.
    :raises NodeOffline: a node does not answer; whether it has some is not known.
    """
    takers = [one.name for one in ctx.committed.databases.values() if one.snapshot_volume == volume.name]
    for node in nodes:
        for name in takers:
            if ask(ctx, list_snapshots.on(node, volume=volume.name, database=name)):
                raise InUse(
                    f"the segment of volume {volume.name} on n{node} has snapshots of database {name}; delete them "
                    "with db_snapshot_backups_delete"
                )


def _check_movable(
    ctx: Context, volume: Volume, sources: Sequence[int], using: Sequence[Use], running: Use | None
) -> None:
    """Refuse to move what nobody could copy.

    :raises WrongState: says what to do first.
    """
    if running is not None:
        if running.record.primary in sources and running.record.operation:
            raise WrongState(
                f"n{running.record.primary} is the primary of database {running.database.name}, whose operation "
                f"{running.record.operation} runs there; wait for its end (db_info shows it)"
            )
        return
    for use in using:
        if use.holds and set(seats(use.database, volume).nodes) & set(sources):
            raise WrongState(
                f"database {use.database.name} is stopped and has its data on {volume.name}; start it with db_start: "
                "its copies move while it runs"
            )
    if not using:
        _check_empty(ctx, volume, sources)


def _check_empty(ctx: Context, volume: Volume, sources: Sequence[int]) -> None:
    for node in sources:
        if ask(ctx, segment_usage.on(node, vid=volume.id or 0, devices=_devices(ctx, node, volume.disk))):
            raise WrongState(
                f"the segment of volume {volume.name} on n{node} holds data that no database uses; "
                "only a running database can take its data along"
            )


def _reserve(ctx: Context, volume: Volume, nodes: Sequence[int], running: Use | None = None) -> None:
    """Make segments on further nodes of a volume."""
    if not nodes:
        return
    part = msgspec.structs.replace(volume, nodes=tuple(nodes), num_master_nodes=len(nodes), redundancy=1)
    check_disk(ctx.conf, part)
    plan = place(shape_of(part), volume.disk, free_devices(ctx, list(nodes), volume.disk))
    vid, maker = volume.id or 0, ctx.job_id
    ctx.run_all(
        [
            (
                create_segment.on(node, volume=volume.name, vid=vid, maker=maker, extents=extents),
                _free(ctx, volume, node, running, maker),
            )
            for node, extents in plan.items()
        ]
    )


def _move_copies(ctx: Context, running: Use, volume: Volume, pairs: Mapping[int, int]) -> None:
    """Have a running database take its copies along before the configuration says so."""
    name = running.database.name
    sources = [node for node in pairs if node in seats(running.database, volume).nodes]
    if not sources:
        return
    guests = [pairs[node] for node in sources]
    ctx.run(
        move.on(MASTER, database=name, sources=sources, guests=guests),
        undo=stay.on(MASTER, database=name, guests=guests),
    )
    ctx.settle(moved.on(MASTER, database=name))
    for node in guests:
        ctx.settle(open_access.on(node, database=name, maintenance=running.record.maintenance))


def _give_up(ctx: Context, volume: Volume, nodes: Sequence[int], holder: Use | None) -> None:
    """Destroy segments once the job can no longer go back."""
    for node in nodes:
        if _devices(ctx, node, volume.disk):
            ctx.settle(_free(ctx, volume, node, holder, None))


def _free(ctx: Context, volume: Volume, node: int, holder: Use | None, maker: str | None) -> Command[Any]:
    devices, vid = _devices(ctx, node, volume.disk), volume.id or 0
    if holder is None:
        return delete_segment.on(node, vid=vid, devices=devices, maker=maker)
    name = holder.database.name
    return withdraw.on(MASTER, database=name, left=node, vid=vid, devices=devices, maker=maker)


def _devices(ctx: Context, node: int, disk: str) -> list[str]:
    return [device for _, device in node_devices(ctx.committed, node, disk)]
