"""Nodes that are taken out of service, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from confd.cluster.leading.quorum import names, quorum_of, suspending
from confd.cluster.operations import MASTER
from confd.exaconf import Configuration, Database
from confd.exaconf.nodes import DISABLED, SUSPENDED
from confd.jobs import locks
from confd.jobs.observing import database_record, node_states
from confd.model.errors import InvalidParameter, WrongState
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Live, Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.database.record import Record, Wanted
from confd.services.database.supervision.orders import resume
from confd.services.database.supervision.vacating import go_on, vacate
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.standing import check_resume, check_suspend, suspension_key

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm"))
MEMBERSHIP: Final = locks.ids("node")


def check_ids(given: int | Sequence[Any]) -> None:
    """Check an id or a list of ids: at least one, none twice."""
    ids = [given] if isinstance(given, int) else list(given)
    if not ids or len(set(map(str, ids))) != len(ids):
        raise InvalidParameter(f"{ids}: give at least one node, each once")


OneOrMore = Annotated[
    int | list[int], Rule(live=Live.NODE, check=check_ids, form="a node id or a list of node ids, e.g. [12, 13]")
]


@job(MODIFY, allow=_ADMINISTRATORS, locks=[MEMBERSHIP, locks.node("nid")], without_quorum=True)
def node_suspend(ctx: Context, nid: OneOrMore, *, disable: bool = False) -> None:
    """Take nodes out of service on purpose: they do not count for the quorum, and others take over from them.

    Also works without a quorum for nodes that are offline, and brings it back. Suspending a node that does not answer
    says that everything on it is dead: never do that on both sides of a split.

    :param nid: Id of the node, or a list of ids.
    :param disable: Also keep the nodes suspended when they are started.

    Examples:
    {nid: 12}
    {nid: [12, 13]}
    {nid: 12, disable: true}
    """
    nodes = known(ctx.conf, nid)
    states = node_states(ctx)
    check_suspend(ctx.conf.nodes, states, nodes, master_node(ctx), disable)
    for node in nodes:
        section = ctx.conf.require_node(node)
        ctx.conf.put(msgspec.structs.replace(section, state=DISABLED if disable else SUSPENDED))
        if not section.suspended:
            ctx.stamp_record(suspension_key(node))
    leave_databases(ctx, nodes, states)
    left = quorum_of(suspending(states, nodes))
    if not left.held:
        ctx.warn(f"{left} still, so no changes are accepted; suspend them as well, or bring them back")


@job(MODIFY, allow=_ADMINISTRATORS, locks=[MEMBERSHIP, locks.node("nid")])
def node_resume(ctx: Context, nid: OneOrMore, *, enable: bool = False) -> None:
    """Take suspended nodes back into service; a node that is started comes back by itself.

    :param nid: Id of the node, or a list of ids.
    :param enable: Also take back nodes that were disabled.

    Examples:
    {nid: 12}
    {nid: [12, 13]}
    {nid: 12, enable: true}
    """
    nodes = known(ctx.conf, nid)
    attendance = ctx.service(Attendance)
    answering = ctx.learn("answering", lambda: [node for node in nodes if attendance.answers(node)])
    back = {node: NodeState.ONLINE if node in answering else NodeState.OFFLINE for node in nodes}
    check_resume(ctx.conf.nodes, node_states(ctx) | back, nodes)
    if not enable and (off := [node for node in nodes if ctx.conf.require_node(node).disabled]):
        raise WrongState(f"{names(off)} is disabled; give enable to take it back into service")
    for node in nodes:
        ctx.conf.put(msgspec.structs.replace(ctx.conf.require_node(node), state=""))
        ctx.put_record(suspension_key(node), None)


def known(conf: Configuration, given: int | Sequence[int]) -> list[int]:
    """Return the ids of nodes that exist.

    :raises NotFound: one does not.
    """
    return [conf.require_node(node).id for node in ([given] if isinstance(given, int) else given)]


def master_node(ctx: Context) -> int:
    """Return which node is master; a rerun gets the same one."""
    return ctx.learn("master", lambda: ctx.cluster.node)


def leave_databases(ctx: Context, nodes: Sequence[int], states: dict[int, NodeState]) -> None:
    """Have running databases go on without nodes: at once from those that are online, else when the job is done.

    :raises WrongState: a database has nowhere to go.
    """
    online = [node for node in nodes if states.get(node) is NodeState.ONLINE]
    for database in databases_on(ctx.conf, nodes):
        record = database_record(ctx, database.name)
        running = record.wanted is Wanted.RUNNING
        if online and running:
            check_movable(database.name, record, online)
            check_elsewhere(ctx.conf, database, nodes, states)
        # Of one that is stopped nothing may be started there meanwhile: a suspended node proves that nothing runs.
        if online and (running or (record.primary is not None and not record.operation)):
            fresh = [node for node in online if node not in record.suspended]
            back = resume.on(MASTER, database=database.name, nodes=fresh)
            ctx.run(vacate.on(MASTER, database=database.name, nodes=online), undo=back)
            ctx.settle(back)
        if running:
            ctx.settle(go_on.on(MASTER, database=database.name, nodes=list(nodes)))


def databases_on(conf: Configuration, nodes: Sequence[int]) -> list[Database]:
    """Return the databases that have one of the nodes, or whose data volume has."""
    volumes = {volume.name for volume in conf.volumes.values() if set(nodes) & set(volume.nodes)}
    return [one for one in conf.databases.values() if set(nodes) & set(one.nodes) or one.data_volume in volumes]


def check_elsewhere(
    conf: Configuration, database: Database, nodes: Sequence[int], states: dict[int, NodeState]
) -> None:
    """Refuse to take nodes from a running database that has its data nowhere else.

    :raises WrongState: says what to do first.
    """
    volume = conf.require_volume(database.data_volume)
    if set(volume.nodes) & set(nodes) and not elsewhere(conf, database, nodes, states):
        raise WrongState(
            f"database {database.name} runs and has no other node online with a segment of volume {volume.name}; "
            "stop it with db_stop first, or give the volume another node"
        )


def check_movable(name: str, record: Record, nodes: Sequence[int]) -> None:
    """Refuse to take nodes from a database while something works there that cannot go on elsewhere.

    :raises WrongState: says what.
    """
    if record.virtual is not None and record.virtual.node in nodes:
        raise WrongState(
            f"a backup of database {name} is open for reading on n{record.virtual.node}; close it with db_stop first"
        )
    # After the loss of its node a backup is still recorded there, while another one is the primary.
    at = record.primary if record.backup is None else record.backup.node
    if record.operation and at in nodes:
        raise WrongState(
            f"a {record.operation} of database {name} runs on n{at}; wait for its end (db_backup_progress) or end it "
            "with db_backup_abort"
        )


def elsewhere(conf: Configuration, database: Database, nodes: Sequence[int], states: dict[int, NodeState]) -> list[int]:
    """Return the other nodes that are online and have a segment of the database's data volume."""
    volume = conf.require_volume(database.data_volume)
    return [node for node in volume.nodes if node not in nodes and states.get(node) is NodeState.ONLINE]
