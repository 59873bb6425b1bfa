"""What jobs ask the nodes of a database before they change it: whether it can run there as it is wished."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from confd.exaconf import Database
from confd.jobs.observing import ask, node_states
from confd.model.errors import NodeOffline
from confd.model.naming import names
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.scheduler.context import Context
from confd.services.database.engine.checking import Draft, check
from confd.services.database.engine.keytab import has_keytab
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
    """Have all nodes check a database that may run it: active and reserve ones, and those with a further copy.

    Those that are away are told of. The file of initial SQL is the first active node's.

    :param kerberos: it is to have a keytab; one that it has already counts anyway.
    :raises ConfDError: what a node found.
    """
    online = online_nodes(ctx, database)
    if not online:
        raise NodeOffline(f"none of the active nodes of {database.name} answers; it cannot be checked")
    copies = seats(database, ctx.conf.require_volume(database.data_volume)).copies
    draft = draft_of(database, kerberos or _has_keytab(ctx, database))
    for warning in _check(ctx, database, (*database.nodes, *copies), draft, online[0]):
        ctx.warn(warning)


def check_new_nodes(ctx: Context, database: Database, nodes: Sequence[int]) -> None:
    """Have nodes that come to a database check it; those that are away are told of.

    What its settings are good for was told when they were given.

    :raises ConfDError: what a node found.
    """
    _check(ctx, database, nodes, draft_of(database, _has_keytab(ctx, database)))


def _check(
    ctx: Context, database: Database, nodes: Sequence[int], draft: Draft, with_file: int | None = None
) -> list[str]:
    states, said = node_states(ctx), dict[str, None]()
    for node in dict.fromkeys(nodes):
        if states.get(node) is not NodeState.ONLINE:
            ctx.warn(f"n{node} does not answer; whether it can run {database.name} was not checked")
            continue
        asked = draft if node == with_file else msgspec.structs.replace(draft, initial_sql=None)
        warnings: list[str] = ask(ctx, check.on(node, draft=asked))
        said |= dict.fromkeys(warnings)
    return list(said)


def _has_keytab(ctx: Context, database: Database) -> bool:
    """Tell whether a database has a keytab, as far as one of its active nodes can be asked."""
    return any(ask(ctx, has_keytab.on(node, database=database.name)) for node in online_nodes(ctx, database)[:1])


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
    states = node_states(ctx)
    return [node for node in database.active_nodes if states.get(node) is NodeState.ONLINE]


def homes(ctx: Context, database: Database) -> list[int]:
    """Return the nodes that take commands and have, or get, an instance with clients: their volume has a segment there.

    :raises NodeOffline: there is none.
    """
    record = ctx.record(PREFIX + database.name)
    suspended = ctx.learn("suspended", lambda: [] if record is None else list(record.get("suspended", ())))
    states = node_states(ctx)
    active = seats(database, ctx.conf.require_volume(database.data_volume), suspended).active
    found = [node for node in active if states.get(node) is NodeState.ONLINE]
    if not found:
        raise NodeOffline(f"none of the nodes with data of {database.name} answers ({names(active) or 'none is left'})")
    return found
