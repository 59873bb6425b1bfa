"""Databases: asking, starting, stopping, emptying and deleting them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from confd.cluster.operations import MASTER
from confd.exaconf import Database, key_of
from confd.jobs import locks
from confd.jobs.engine import warn_of_reduction
from confd.jobs.observing import ask, database_state, require_idle, require_stopped, unless_restored
from confd.jobs.types import DatabaseName
from confd.model.errors import ConfDError, NotFound, WrongState
from confd.model.states import DatabaseState
from confd.scheduler.context import Context
from confd.scheduler.parameters import Rule
from confd.scheduler.registry import MODIFY, READ, Allow, job
from confd.services.backup.scheduling.schedules import describe_schedules, time_zone
from confd.services.backup.scheduling.service import Schedules
from confd.services.database.description import describe_database
from confd.services.database.instance.operations import forget, remove_instance, usage
from confd.services.database.observed import Usage
from confd.services.database.record import PREFIX, Wanted
from confd.services.database.supervision.keytabs import reports_keytab
from confd.services.database.supervision.observation import Observation
from confd.services.database.supervision.orders import set_create_new, unwant, want
from confd.services.database.supervision.supervision import Supervision
from confd.services.wal.archive import WalArchive

_ADMINISTRATORS: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm"))
_EVERYBODY: Final = Allow(users=("root",), groups=("root", "exaadm", "exadbadm", "exausers"))
_WHOLE: Final = ("MAIN", "+all")

Seconds = Annotated[int, Rule(minimum=0)]
OwnSwitch = Annotated[bool, Rule(own=True)]


@job(READ, allow=_EVERYBODY)
def db_list(ctx: Context) -> list[str]:
    """List the names of all databases.

    Examples:
    {}
    """
    return sorted(ctx.conf.databases)


@job(READ, allow=_ADMINISTRATORS)
def db_state(ctx: Context, db_name: DatabaseName) -> str:
    """Return the state of a database: setup, startup, running or shutdown.

    :param db_name: Name of an existing database.

    Examples:
    {db_name: exa_db}
    """
    ctx.conf.require_database(db_name)
    return database_state(ctx, db_name)


@job(READ, allow=_ADMINISTRATORS)
def db_info(ctx: Context, db_name: DatabaseName) -> dict[str, Any]:
    """Return state, nodes, volumes, usage and configuration of a database.

    :param db_name: Name of an existing database.

    Examples:
    {db_name: exa_db}
    """
    database = ctx.conf.require_database(db_name)
    volume = ctx.conf.require_volume(database.data_volume)
    seen = ctx.service(Supervision).observe(db_name)
    addresses = {node.id: node.private_ip for node in ctx.conf.nodes.values()}
    fingerprint = next((one.certificate for one in seen.instances if one.certificate), None)
    described = describe_database(database, volume, seen, _usage(ctx, db_name, seen), addresses, fingerprint)
    runs, zone = ctx.service(Schedules).runs(db_name), time_zone(ctx.committed)
    described["config"] |= describe_schedules(database, runs, ctx.now(), zone)
    described["info"] = " ".join(filter(None, [described["info"], ctx.service(WalArchive).problem(db_name)]))
    return described


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")])
def db_delete(ctx: Context, db_name: DatabaseName) -> None:
    """Remove a stopped database; its data volume stays, to be deleted with st_volume_delete.

    :param db_name: Database to delete.

    Examples:
    {db_name: DB1}
    """
    database = ctx.conf.require_database(db_name)
    require_stopped(ctx, db_name, "deleted")
    ctx.conf.delete(key_of(Database, db_name))
    ctx.put_record(PREFIX + db_name, None)
    # Nodes that held a further copy are none of the database's own, and a keytab may be on all nodes.
    volume = ctx.conf.volumes.get(database.data_volume)
    held = ctx.learn("keytabs", lambda: [node for node in ctx.conf.nodes if reports_keytab(ctx.cluster, node, db_name)])
    for node in dict.fromkeys((*database.nodes, *(volume.nodes if volume else ()), *held)):
        ctx.settle(remove_instance.on(node, database=db_name, uuid=database.id))


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume_of_database("db_name")],
)
def db_reset(ctx: Context, db_name: DatabaseName) -> None:
    """Empty a stopped database: all its data are gone, and the next start builds it anew.

    :param db_name: Database to reset.

    Examples:
    {db_name: DB1}
    """
    database = ctx.conf.require_database(db_name)
    require_stopped(ctx, db_name, "reset")
    require_idle(ctx, db_name)
    record = ctx.learn("record", lambda: msgspec.to_builtins(ctx.service(Supervision).record(db_name)))
    ctx.run(
        set_create_new.on(MASTER, database=db_name, create_new=True),
        undo=set_create_new.on(MASTER, database=db_name, create_new=record["create_new"]),
    )
    for node in ctx.conf.require_volume(database.data_volume).nodes:
        ctx.settle(forget.on(node, database=db_name, generation=record["generation"]))


@job(
    MODIFY,
    allow=_ADMINISTRATORS,
    locks=[locks.database("db_name"), locks.volume_of_database("db_name")],
)
def db_start(
    ctx: Context,
    db_name: DatabaseName,
    *,
    cluster: str | None = None,
    maintenance: bool = False,
    timeout: Seconds = 0,
    accept_loss: OwnSwitch = False,
) -> None:
    """Start a stopped database and wait until clients can connect.

    The first start of a new database makes its data.

    :param db_name: Database to start.
    :param cluster: Part of the database: MAIN or its name for the main part, +all for everything.
    :param maintenance: Start it for sys only, until the next start.
    :param timeout: Seconds to wait; 0 waits as long as it takes. When they pass, the start is taken back.
    :param accept_loss: Start from the copies that are there, even if rows are lost that only absent nodes have.

    Examples:
    {db_name: DB1}
    {db_name: DB1, timeout: 30}
    """
    database = ctx.conf.require_database(db_name)
    _check_part(db_name, cluster)
    state = ctx.learn("state", lambda: database_state(ctx, db_name))
    if state != DatabaseState.SETUP:
        raise WrongState(f"database {db_name} is in state {state}; only a stopped one (setup) can be started")
    require_idle(ctx, db_name)
    warn_of_reduction(ctx, database)
    outcome = ctx.run(
        want.on(
            MASTER,
            database=db_name,
            wanted=Wanted.RUNNING,
            timeout=timeout or None,
            maintenance=maintenance,
            accept_loss=accept_loss,
        ),
        undo=unwant.on(MASTER, database=db_name, wanted=Wanted.RUNNING),
    )
    for warning in outcome.warnings:
        ctx.warn(warning)


@job(MODIFY, allow=_ADMINISTRATORS, locks=[locks.database("db_name")], refuses=unless_restored("db_name"))
def db_stop(
    ctx: Context,
    db_name: DatabaseName,
    *,
    cluster: str | None = None,
    force: bool = False,
    timeout: Annotated[int, Rule(minimum=0)] | None = None,
) -> None:
    """Shut a running database down; all sessions end, its nodes stay online.

    :param db_name: Database to stop.
    :param cluster: Part of the database: MAIN or its name for the main part, +all for everything.
    :param force: Stop at once, without writing a checkpoint; the next start recovers.
    :param timeout: Seconds to wait; as long as it takes when left out.

    Examples:
    {db_name: DB1}
    {db_name: DB1, force: true}
    {db_name: DB1, timeout: 660}
    """
    ctx.conf.require_database(db_name)
    _check_part(db_name, cluster)
    state = ctx.learn("state", lambda: database_state(ctx, db_name))
    if state == DatabaseState.SETUP:
        raise WrongState(f"database {db_name} is not running (state {state}); nothing to stop")
    require_idle(ctx, db_name)
    outcome = ctx.run(
        want.on(MASTER, database=db_name, wanted=Wanted.STOPPED, timeout=timeout or None, force=force),
        undo=unwant.on(MASTER, database=db_name, wanted=Wanted.STOPPED),
    )
    for warning in outcome.warnings:
        ctx.warn(warning)


def _usage(ctx: Context, name: str, seen: Observation) -> dict[int, Usage]:
    if seen.state is DatabaseState.SETUP:
        return {}
    nodes = sorted(one.node for one in seen.instances if one.node not in seen.missing)
    try:
        return {node: ask(ctx, usage.on(node, database=name)) for node in nodes}
    except ConfDError:
        # A node went away between looking and asking: the rest is shown without figures.
        return {}


def _check_part(name: str, cluster: str | None) -> None:
    if cluster is not None and cluster not in (*_WHOLE, name):
        raise NotFound(f"cluster: database {name} has no part {cluster!r}; use MAIN, {name} or +all")
