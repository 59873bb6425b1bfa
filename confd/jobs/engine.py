"""What jobs ask the nodes of a database before they change it: whether it can run there as it is wished."""

from __future__ import annotations

import msgspec

from confd.exaconf import Database
from confd.jobs.observing import ask
from confd.model.errors import NodeOffline
from confd.model.naming import names
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.services.database.engine.checking import Draft, check
from confd.services.database.engine.memory import reduction
from confd.services.database.engine.upgrading import check_version, memory_of_node
from confd.services.database.planning.seats import seats
from confd.services.database.record import PREFIX


def draft_of(database: Database, kerberos: bool = False) -> Draft:
    """Return what of a database a node has to be able to do."""
    return Draft(
        version=database.version,
        params=database.params,
        ldap=bool(database.ldap_servers),
        kerberos=kerberos,
        interfaces=database.interfaces,
        initial_sql=database.initial_sql,
        auditing=database.enable_auditing,
    )


def check_with_engine(ctx: Context, database: Database, kerberos: bool = False) -> None:
    """Have the active nodes check a database; those that are away are told of. The file of initial SQL is the first's.

    :raises ConfDError: what a node found.
    """
    draft, said = draft_of(database, kerberos), dict[str, None]()
    online = online_nodes(ctx, database)
    if not online:
        raise NodeOffline(f"none of the active nodes of {database.name} answers; it cannot be checked")
    for node in database.active_nodes:
        if node not in online:
            ctx.warn(f"n{node} does not answer; whether it can run {database.name} was not checked")
    for node in online:
        asked = draft if node == online[0] else msgspec.structs.replace(draft, initial_sql=None)
        warnings: list[str] = ask(ctx, check.on(node, draft=asked))
        said |= dict.fromkeys(warnings)
    for warning in said:
        ctx.warn(warning)


def check_upgrade(ctx: Context, database: Database) -> None:
    """Refuse a version to which the data of a database cannot be brought; tell what the next start will do.

    :raises ConfDError: says why not.
    """
    for node in homes(ctx, database):
        if plan := ask(ctx, check_version.on(node, database=database.name, version=database.version)):
            ctx.warn(plan)
            return


def warn_of_reduction(ctx: Context, database: Database) -> None:
    """Tell when a database will get less memory than it is configured for."""
    memories = [ask(ctx, memory_of_node.on(node)) for node in online_nodes(ctx, database)]
    text = reduction(database.mem_size, Bytes(min(memories)), database.num_active_nodes) if memories else None
    if text:
        ctx.warn(text)


def online_nodes(ctx: Context, database: Database) -> list[int]:
    """Return the active nodes of a database that take commands."""
    states = ctx.learn("nodes", lambda: {str(node): state.value for node, state in ctx.cluster.node_states().items()})
    return [node for node in database.active_nodes if states.get(str(node)) == NodeState.ONLINE]


def homes(ctx: Context, database: Database) -> list[int]:
    """Return the nodes that take commands and have, or get, an instance with clients: their volume has a segment there.

    :raises NodeOffline: there is none.
    """
    record = ctx.record(PREFIX + database.name)
    suspended = ctx.learn("suspended", lambda: [] if record is None else list(record.get("suspended", ())))
    states = ctx.learn("nodes", lambda: {str(node): state.value for node, state in ctx.cluster.node_states().items()})
    active = seats(database, ctx.conf.require_volume(database.data_volume), suspended).active
    found = [node for node in active if states.get(str(node)) == NodeState.ONLINE]
    if not found:
        raise NodeOffline(f"none of the nodes with data of {database.name} answers ({names(active) or 'none is left'})")
    return found
