"""Which nodes a database has: reserve nodes, suspended nodes, enlarging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from confd.cluster.operations import MASTER
from confd.exaconf import Configuration, Database
from confd.jobs import locks
from confd.jobs.engine import check_new_nodes
from confd.jobs.nodes_standing import check_movable
from confd.jobs.observing import database_record, node_states, require_idle, require_stopped
from confd.jobs.types import DatabaseName, NodeId
from confd.model.errors import AlreadyExists, InvalidParameter, NotFound, WrongState
from confd.model.naming import names
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Live, Rule
from confd.scheduler.registry import MODIFY, Allow, job
from confd.services.database.planning.reserves import enlarged, replaced
from confd.services.database.record import Record, Wanted
from confd.services.database.supervision.orders import begin, hand_over, resume, suspend

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))


def check_nodes(given: Sequence[Any]) -> None:
    """Check a list of nodes by id or name: at least one, none twice."""
    ids = [_number(one) for one in given]
    if not ids or len(set(ids)) != len(ids):
        raise InvalidParameter(f"{list(given)!r}: give at least one node, each once")


def check_count(given: str | int) -> None:
    """Check how many nodes are meant."""
    if not str(given).strip().isdecimal() or int(given) < 1:
        raise InvalidParameter(f"{given!r} is not a number of nodes: give 1 or more")


NodeRefs = Annotated[list[Any], Rule(live=Live.NODE, check=check_nodes, form="list of node ids or names, e.g. [12]")]
Count = Annotated[str | int, Rule(minimum=1, check=check_count)]


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name"), locks.node("node_list", share=True)])
def db_add_reserve_nodes(ctx: Context, db_name: DatabaseName, node_list: NodeRefs) -> None:
    """Add nodes of the cluster to a database as reserve nodes.

    A node that is suspended in the database is resumed.

    :param db_name: Name of an existing database.
    :param node_list: Ids of the nodes to add, or their names.

    Examples:
    {db_name: MY_DATABASE, node_list: [14, 15]}
    {db_name: exa_db, node_list: [12]}
    """
    database, nodes = ctx.conf.require_database(db_name), _nodes(ctx.conf, node_list)
    record = database_record(ctx, db_name)
    suspended = record.suspended
    known = [node for node in nodes if node in database.nodes and node not in suspended]
    if known:
        raise AlreadyExists(f"node_list: {names(known)} belongs to database {db_name} already; leave it out")
    check_new_nodes(ctx, database, nodes)
    _give_back(ctx, db_name, record, nodes)
    added = tuple(node for node in nodes if node not in database.nodes)
    if added:
        ctx.conf.put(msgspec.structs.replace(database, nodes=database.nodes + added))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_remove_reserve_nodes(ctx: Context, db_name: DatabaseName, node_list: NodeRefs) -> None:
    """Take reserve nodes out of a database; they stay in the cluster.

    :param db_name: Name of an existing database.
    :param node_list: Ids of the reserve nodes to remove, or their names.

    Examples:
    {db_name: exa_db, node_list: [12]}
    """
    database, nodes = ctx.conf.require_database(db_name), _nodes(ctx.conf, node_list)
    if wrong := [node for node in nodes if node not in database.reserve_nodes]:
        raise NotFound(
            f"node_list: {names(wrong)} is not a reserve node of database {db_name}; "
            f"it has {names(database.reserve_nodes) or 'none'}"
        )
    _give_back(ctx, db_name, database_record(ctx, db_name), nodes)
    left = tuple(node for node in database.nodes if node not in nodes)
    ctx.conf.put(msgspec.structs.replace(database, nodes=left))


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume_of_database("db_name")],
)
def db_suspend_nodes(ctx: Context, db_name: DatabaseName, node_list: NodeRefs) -> None:
    """Mark nodes of a database as unavailable although they keep running, for instance for maintenance.

    A reserve node takes the place of an active one, at once or with the next start. Suspending a node that does not
    answer says that its instance is dead: another one may take over then.

    :param db_name: Name of an existing database.
    :param node_list: Names of the nodes, or their ids.

    Examples:
    {db_name: exa_db, node_list: [n12]}
    """
    database, nodes = ctx.conf.require_database(db_name), _nodes(ctx.conf, node_list)
    if strange := [node for node in nodes if node not in database.nodes]:
        raise NotFound(f"node_list: {names(strange)} is not a node of database {db_name}")
    record, states = database_record(ctx, db_name), node_states(ctx)
    if record.wanted is Wanted.RUNNING:
        # What worked on a node that is away is over: it must not keep the administrator from saying so.
        check_movable(db_name, record, [node for node in nodes if states.get(node) is NodeState.ONLINE])
    before = record.suspended
    changed = _without(ctx, database, nodes, {*before, *nodes}, states)
    # One that was suspended already may be dead: it is not given back if this job fails.
    taken = [node for node in nodes if node not in before]
    # Who suspends a node that answers does not say that it is dead, should it fall silent later.
    silent = [node for node in nodes if states.get(node) is NodeState.OFFLINE]
    ctx.run(
        suspend.on(MASTER, database=db_name, nodes=nodes, vouched=silent),
        undo=resume.on(MASTER, database=db_name, nodes=taken),
    )
    if changed != database:
        ctx.conf.put(changed)
    ctx.settle(hand_over.on(MASTER, database=db_name))


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_resume_nodes(ctx: Context, db_name: DatabaseName, node_list: NodeRefs) -> None:
    """Make suspended nodes available to a database again; those that were replaced are reserve nodes now.

    :param db_name: Name of an existing database.
    :param node_list: Names of the nodes, or their ids.

    Examples:
    {db_name: exa_db, node_list: [n12]}
    """
    ctx.conf.require_database(db_name)
    nodes, record = _nodes(ctx.conf, node_list), database_record(ctx, db_name)
    suspended = record.suspended
    if wrong := [node for node in nodes if node not in suspended]:
        raise WrongState(
            f"node_list: {names(wrong)} is not suspended in database {db_name}; {names(suspended) or 'no node'} is"
        )
    _give_back(ctx, db_name, record, nodes)


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume_of_database("db_name")],
)
def db_enlarge(ctx: Context, db_name: DatabaseName, num_new_nodes: Count) -> None:
    """Turn reserve nodes of a stopped database into active nodes, and start it; this cannot be undone.

    Its data volume must have segments on them: add them before with st_volume_append_node.

    :param db_name: Name of an existing database.
    :param num_new_nodes: How many reserve nodes become active.

    Examples:
    {db_name: exa_db, num_new_nodes: 2}
    {db_name: MY_DATABASE, num_new_nodes: 2}
    """
    database = ctx.conf.require_database(db_name)
    require_stopped(ctx, db_name, "enlarged")
    require_idle(ctx, db_name)
    volume = ctx.conf.require_volume(database.data_volume)
    after = enlarged(database, volume, int(num_new_nodes), database_record(ctx, db_name).suspended)
    check_new_nodes(ctx, database, [node for node in after.active_nodes if node not in database.active_nodes])
    ctx.conf.put(after)
    ctx.settle(begin.on(MASTER, database=db_name))


@job(
    MODIFY,
    own=True,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume_of_database("db_name")],
)
def db_replace_node(ctx: Context, db_name: DatabaseName, node: NodeId, replacement: NodeId) -> None:
    """Have a reserve node take the place of an active node, which becomes a reserve node.

    Done by the cluster itself when an active node was lost.

    :param db_name: Name of an existing database.
    :param node: Id of the active node.
    :param replacement: Id of the reserve node.

    Examples:
    {db_name: exa_db, node: 12, replacement: 14}
    """
    database = ctx.conf.require_database(db_name)
    if node not in database.active_nodes:
        raise NotFound(f"node: n{node} is not an active node of database {db_name}")
    if replacement not in database.reserve_nodes:
        raise NotFound(f"replacement: n{replacement} is not a reserve node of database {db_name}")
    ctx.conf.put(replaced(database, node, replacement))
    ctx.settle(hand_over.on(MASTER, database=db_name))


def _without(
    ctx: Context, database: Database, nodes: Sequence[int], gone: set[int], states: Mapping[int, NodeState]
) -> Database:
    """Return the database with reserve nodes in place of the active ones that are suspended.

    :raises WrongState: nobody could take their place.
    """
    volume = ctx.conf.require_volume(database.data_volume)
    if all(node in gone for node in database.active_nodes) and not _homes(database, volume.nodes, gone):
        raise WrongState(f"database {database.name} has no other node with a copy of its data; one must stay")
    changed = database
    for node in (node for node in nodes if node in changed.active_nodes):
        online = {node for node in changed.reserve_nodes if states.get(node) is NodeState.ONLINE} - gone
        ready = sorted(online, key=lambda one: (one not in volume.nodes, changed.nodes.index(one)))
        if ready:
            changed = replaced(changed, node, ready[0])
        elif states.get(node) is NodeState.ONLINE:
            raise WrongState(
                f"database {database.name} has no reserve node that could take the place of n{node}; "
                "add one with db_add_reserve_nodes"
            )
        else:
            ctx.warn(f"no reserve node takes the place of n{node}; the database goes on with the nodes it has left")
    return changed


def _homes(database: Database, volume: Sequence[int], gone: set[int]) -> list[int]:
    return [node for node in (*database.nodes, *volume) if node in volume and node not in gone]


def _nodes(conf: Configuration, given: Sequence[Any]) -> list[int]:
    """Return the ids of nodes given by id or name.

    :raises NotFound: there is no such node.
    """
    nodes = [_number(one) for one in given]
    for node, one in zip(nodes, given, strict=True):
        if node not in conf.nodes:
            raise NotFound(f"node_list: there is no node {one!r}; node_list shows the nodes of the cluster")
    return nodes


def _number(given: object) -> int:
    text = str(given).strip().removeprefix("n")
    return int(text) if text.isdecimal() else -1


def _give_back(ctx: Context, name: str, record: Record, nodes: Sequence[int]) -> None:
    """Resume the suspended ones of some nodes; what an administrator answered for is so again if the job fails."""
    back = [node for node in nodes if node in record.suspended]
    vouched = [node for node in back if node in record.vouched]
    if back:
        ctx.run(
            resume.on(MASTER, database=name, nodes=back),
            undo=suspend.on(MASTER, database=name, nodes=back, vouched=vouched),
        )
