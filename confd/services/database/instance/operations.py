"""Node operations on database instances; the supervisor and jobs run them on nodes."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import Any

import msgspec

from confd.cluster.host import Host, reporter
from confd.cluster.operations import operation
from confd.model.errors import ConfDError, NodeError, NotFound, StorageNotFound
from confd.model.secret import Secret
from confd.services.database.engine import making, refreshing, straying
from confd.services.database.engine.data import Content, read_content, remove, used
from confd.services.database.engine.keytab import keytab_path
from confd.services.database.engine.layout import layout
from confd.services.database.engine.numbering import skip_numbers
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import recover
from confd.services.database.instance import turns
from confd.services.database.instance.proof import machine
from confd.services.database.keeper.client import KeeperClient, KeeperStatus
from confd.services.database.keeper.processes import clear
from confd.services.database.observed import History, Instance, InstanceState, Place, Role, Usage
from confd.services.database.record import Quorum


@operation("database.initialise")
def initialise(host: Host, database: str, generation: str, replace: bool) -> None:
    """Make empty data of a generation; ``replace`` removes other data."""
    making.initialise(Server(host, database), generation, replace)


@operation("database.start_primary")
def start_primary(
    host: Host, database: str, quorum: Quorum, maintenance: bool = False, lease: str = ""
) -> InstanceState:
    """Start the instance writable, with a quorum in force from the first moment; in maintenance for sys only.

    :param lease: hold of the node's lease as the master knows it; under a later one the order is void.
    """
    server = Server(host, database)
    with turns.turn(server.place.data):
        state = server.start(Role.PRIMARY, server.primary_file(quorum), maintenance, lease)
    if state is InstanceState.READY:
        # Data of another version were kept until the present ones had been used.
        remove(server.place.replaced)
    return state


@operation("database.admit")
def admit(host: Host, database: str, standby: int, maintenance: bool = False, checkpoint: bool = False) -> str:
    """Let a standby in and keep WAL for it from now on; return the replication password.

    :param checkpoint: write one first: a rewind looks there for the primary's timeline.
    """
    server = Server(host, database)
    # Its node may be younger than this server.
    server.write_access(maintenance)
    server.admin.make_slot(standby, checkpoint)
    return server.password().reveal()


@operation("database.clone")
def clone(host: Host, database: str, primary: int, password: str) -> None:
    """Copy the data of the primary, which has admitted this node."""
    making.clone(Server(host, database), primary, Secret(password))


@operation("database.rewind")
def rewind(host: Host, database: str, primary: int, password: str, history: History | None = None) -> None:
    """Make a standby of a stopped instance whose history parted from the primary's, which has admitted this node."""
    making.rewind(Server(host, database), primary, Secret(password), history)


@operation("database.start_standby")
def start_standby(
    host: Host, database: str, primary: int | None, maintenance: bool = False, history: History | None = None
) -> InstanceState:
    """Start the instance as follower of the primary, or of nobody.

    :param history: the primary's; WAL that is not part of it is removed.
    """
    server = Server(host, database)
    with turns.turn(server.place.data):
        if history is not None and server.state() is InstanceState.STOPPED:
            straying.cut(server.place.data, history)
        return server.start(Role.STANDBY, server.standby_file(primary), maintenance)


@operation("database.follow")
def follow(host: Host, database: str, primary: int) -> None:
    """Have the running standby follow a primary."""
    server = Server(host, database)
    with turns.turn(server.place.data):
        server.write_role(server.standby_file(primary))


@operation("database.detach")
def detach(host: Host, database: str, wait: float) -> None:
    """Have the running standby follow nobody, and wait until it has replayed all that it received."""
    server = Server(host, database)
    with turns.turn(server.place.data):
        server.write_role(server.standby_file(None))
        server.admin.await_detached(wait)


@operation("database.promote")
def promote(
    host: Host, database: str, quorum: Quorum, maintenance: bool = False, lease: str = "", timeline: int = 0
) -> None:
    """Make the detached standby writable, with a quorum in force; fine when it is writable already.

    :param lease: hold of the node's lease as the master knows it; under a later one the order is void.
    :param timeline: number of the timeline that it begins.
    """
    server = Server(host, database)
    with turns.turn(server.place.data):
        server.bind(Role.PRIMARY, lease)
        server.keeper.elevate(lease)
        server.write_role(server.primary_file(quorum))
        skip_numbers(server.place.data, timeline, server.layout.account)
        server.admin.promote(quorum)


@operation("database.set_quorum")
def set_quorum(host: Host, database: str, quorum: Quorum, wait: float) -> None:
    """Bring a quorum into force on the primary and wait until it holds for all that was written before."""
    server = Server(host, database)
    # In turn: one that the master has given up must not come after the next one and undo it.
    with turns.turn(server.place.data):
        server.write_role(server.primary_file(quorum))
    server.admin.await_quorum(quorum, wait)


@operation("database.refresh")
def refresh(host: Host, database: str) -> None:
    """Bring the running instance in line with the configuration: certificate, password of sys."""
    refreshing.refresh(Server(host, database))


@operation("database.restrict")
def restrict(host: Host, database: str, read_only: bool) -> None:
    """Let nobody but sys write, or everybody again."""
    refreshing.restrict(Server(host, database), read_only)


@operation("database.stop")
def stop(host: Host, database: str, immediate: bool, patience: float) -> None:
    """Stop the instance and its keeper; fine when there is none. By force after ``patience`` seconds."""
    place = layout(host, database)
    if not immediate:
        _mark_end(host, database)
    KeeperClient(place.state, place.keeper).leave("immediate" if immediate else "fast", patience)
    # Without the database or its segment here there is no data that an orphan could work on.
    with suppress(NotFound, StorageNotFound):
        server = Server(host, database)
        if server.is_orphaned():
            clear(server.place.data)


def _mark_end(host: Host, database: str) -> None:
    """Leave a commit as the last thing in an archived log: restores reach any time up to it."""
    with suppress(ConfDError):
        server = Server(host, database)
        if server.database.wal_archive_volume and server.state() is InstanceState.READY:
            server.admin.mark()


@operation("database.observe")
def observe(host: Host, database: str) -> Instance:
    """Return what the instance does and holds."""
    server = Server(host, database)
    recover(server.place)
    state = server.state()
    if state is InstanceState.STOPPED and turns.taken(server.place.data):
        # A start that the master no longer waits for still counts: nobody may take the server for stopped.
        state = InstanceState.STARTING
    return _seen(server, state, read_content(server.place.data))


@operation("database.usage")
def usage(host: Host, database: str) -> Usage:
    """Return how much space the instance takes up."""
    place = Server(host, database).place
    return Usage(used(place.data), used(place.temp))


@operation("database.remove")
def remove_instance(host: Host, database: str, uuid: str = "") -> None:
    """Stop the instance of a deleted database and remove its configuration; the volume keeps the data.

    :param uuid: of the database that was deleted; one made again under its name is left alone.
    """
    known = host.conf().databases.get(database)
    if known is None or known.id == uuid:
        end_instance(host, database)
        shutil.rmtree(layout(host, database).backups, ignore_errors=True)
        keytab_path(host, database).unlink(missing_ok=True)


def end_instance(host: Host, database: str) -> None:
    """Stop an instance for good and remove its configuration; fine when there is none."""
    place = layout(host, database)
    KeeperClient(place.state, place.keeper).leave("fast", 30.0)
    for directory in (place.config, place.state, place.sockets):
        shutil.rmtree(directory, ignore_errors=True)


@operation("database.wipe")
def wipe(host: Host, database: str) -> None:
    """Remove the data of a stopped instance."""
    server = Server(host, database)
    if server.state() not in (InstanceState.STOPPED, InstanceState.EMPTY):
        raise NodeError(f"the instance of {database} on {host.name} runs; stop it before its data is removed")
    for directory in (server.place.data, server.place.unfinished, server.place.replaced, server.place.temp):
        remove(directory)


@operation("database.forget")
def forget(host: Host, database: str, generation: str) -> None:
    """Remove the data of one generation; newer ones stay, so that this may also come late."""
    server = Server(host, database)
    content = read_content(server.place.data)
    if generation and content and content.marker.generation == generation:
        wipe.function(host, database)


@reporter("database")
def report(host: Host) -> dict[str, Any]:
    """Report every keeper's instance: quick, without SQL, and equal for as long as nothing changes."""
    states = host.path("/exa/metadata/dwad")
    names = sorted(path.name for path in states.glob("*/")) if states.exists() else []
    found = {name: _reported(host, name) for name in names}
    return {name: shown for name, shown in found.items() if shown}


def _reported(host: Host, database: str) -> dict[str, Any] | None:
    place = layout(host, database)
    status = KeeperClient(place.state, place.keeper).status()
    if status is None:
        return None
    shown = {"state": _state(status), "restarts": status.restarts}
    return shown | {"lapsed": True} if status.lapsed else shown


def _state(status: KeeperStatus) -> InstanceState:
    if status.server:
        return InstanceState.READY if status.ready else InstanceState.STARTING
    return InstanceState.CRASHED if status.wanted else InstanceState.STOPPED


def _seen(server: Server, state: InstanceState, content: Content | None) -> Instance:
    if content is None:
        empty = InstanceState.EMPTY if state is InstanceState.STOPPED else state
        return Instance(node=server.host.node, state=empty)
    status, certificate = server.keeper.status(), refreshing.certificate_of(server)
    held = Instance(
        node=server.host.node,
        state=state,
        role=content.role,
        generation=content.marker.generation,
        owner=content.marker.database,
        system_id=content.system_id,
        timeline=content.timeline,
        flushed=content.redo,
        ended=content.ended if state is InstanceState.STOPPED and content.role is Role.PRIMARY else "",
        history=_history(server, content.role, content.timeline),
        settled=content.settled if state is InstanceState.STOPPED else None,
        place=Place(machine(), str(server.host.root), str(server.place.data), _lease(server, status)),
        restarts=status.restarts if status else 0,
        lapsed=status.lapsed if status else False,
        orphan=status is None and state is InstanceState.STOPPING,
        certificate=certificate.fingerprint if certificate else "",
        fits=refreshing.fits(server),
    )
    return _asked(server, held) if state is InstanceState.READY else held


def _history(server: Server, role: Role, timeline: int) -> History | None:
    return straying.read_history(server.place.data, timeline) if role is Role.PRIMARY else None


def _lease(server: Server, status: KeeperStatus | None) -> str:
    if status is not None and status.server:
        return status.lease
    hold = server.host.leases.hold()
    return hold.name if hold is not None else ""


def _node_at(host: Host, address: str) -> int | None:
    return next((node.id for node in host.conf().nodes.values() if address and node.private_ip == address), None)


def _asked(server: Server, held: Instance) -> Instance:
    try:
        sight, followers, kept = server.admin.sight()
    except NodeError:
        # It is going down, or overloaded: without its word on followers nothing must be concluded from it.
        return msgspec.structs.replace(held, state=InstanceState.STARTING)
    return msgspec.structs.replace(
        held,
        role=sight.role,
        timeline=sight.timeline or held.timeline,
        history=_history(server, sight.role, sight.timeline),
        synchronous=sight.synchronous,
        followers=followers,
        kept=kept,
        flushed=sight.flushed,
        oldest=sight.oldest,
        streaming=sight.streaming,
        follows=_node_at(server.host, sight.source),
        detached=sight.detached,
        paused=sight.paused,
        stale=refreshing.is_stale(server, sight.role, sight.password_mark),
        used=refreshing.counted(server) if sight.role is Role.PRIMARY and server.database.volume_quota else 0,
        read_only=sight.read_only,
        writers=sight.writers if sight.read_only else 0,
    )
