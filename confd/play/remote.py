"""Plays whose nodes are on other machines: the same steps as for one machine, done there by ``c4 machine`` over SSH.

Here lies only what c4 remembers of the play. A step that fails on one machine is undone on all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from confd import __version__
from confd.model.errors import ConfDError, InUse, NodeOffline, WrongState
from confd.play import home, machine, record
from confd.play.kit import NodeKit
from confd.play.listing import NodeStatus, State
from confd.play.making import Made, cluster_name, make_kits, with_passwords
from confd.play.record import Play, PlayNode, Progress
from confd.play.settings import Settings
from confd.play.ssh import Answers, Machines, Told, decode
from confd.services.database.definition import check_name

_LOOK_SECONDS: Final = 15.0
_STORE_SECONDS: Final = 600.0
_UNREACHABLE: Final = machine.Looked("a", State.UNREACHABLE, None)

Say = Callable[[str], None]


class MadeRemote(msgspec.Struct, frozen=True):
    """A play on other machines, the least room of its disks in bytes, and the least memory of its machines."""

    made: Made
    room: int
    memory: int


def make(settings: Settings, machines: Machines, say: Say) -> MadeRemote:
    """Check all machines, then make the nodes there and start them; everything is undone when a step fails.

    :raises ConfDError: names the machine.
    """
    if settings.with_db:
        check_name(settings.database)
    hosts = [seat.address for seat in settings.seats]
    machines.trust(hosts)
    say(f"checking {', '.join(hosts)}")
    wishes = [Told(host, "check", machine.Wish(address=host, ports=settings.ports)) for host in hosts]
    facts = decode(machines.tell(wishes).all(), machine.Facts)
    _check_alike(facts)
    with home.alone():
        number, play_id = home.new_place()
        directory = home.home() / f"{number}_{play_id}"
        generated, settings = with_passwords(settings)
        kits = make_kits(settings, cluster_name(number, play_id), facts[hosts[0]].postgresql)
        ids = {seat.address: machine.Named(play_id, seat.node) for seat in settings.seats}
        try:
            parts = _make_parts(settings, machines, kits, play_id)
            play = _play(settings, directory, number, play_id, parts, facts[hosts[0]].postgresql)
            home.make_passable(directory)
            play.save()
            if generated:
                record.write_passwords(directory, generated)
            say(f"play {number} ({play_id}): starting {', '.join(node.name for node in play.nodes)}")
            machines.tell([Told(host, "start", named) for host, named in ids.items()]).all()
        except BaseException as error:
            left = machines.tell([Told(host, "remove", named) for host, named in ids.items()]).errors
            with suppress(OSError):
                home.discard(directory)
            if isinstance(error, ConfDError):
                error.message += _undone(left)
            raise
    ready = play.with_progress(Progress.READY)
    ready.save()
    room = min(part.room for part in parts.values() if part.room)
    return MadeRemote(Made(ready, generated), room, min(fact.memory for fact in facts.values()))


def start(play: Play, machines: Machines, only: PlayNode | None = None, say: Say = lambda text: None) -> list[PlayNode]:
    """Start what does not run, everywhere or of one node; return the nodes that were started."""
    say(f"waiting for {', '.join(f'{node.name} ({node.address})' for node in ([only] if only else play.nodes))}")
    if only is not None:
        named = machine.Named(play.id, only.node, alone=True)
        return [only] if decode(machines.tell([Told(only.address, "start", named)]).all(), bool)[only.address] else []
    started = decode(_tell(play, machines, "start").all(), bool)
    return [node for node in play.nodes if started[node.address]]


def stop(play: Play, machines: Machines, only: PlayNode | None = None) -> None:
    """Stop databases that do not start with the cluster, then all processes everywhere; or those of one node."""
    if only is not None:
        machines.tell([Told(only.address, "stop", machine.Named(play.id, only.node))]).all()
        return
    first = play.nodes[0]
    with suppress(NodeOffline):
        machines.tell([Told(first.address, "quiet", machine.Named(play.id, first.node))])
    _tell(play, machines, "stop").all()


def remove(play: Play, machines: Machines) -> None:
    """Stop a play and delete everything of it; what c4 remembers goes last, so that it can be tried again."""
    _tell(play, machines, "remove").all()
    home.discard(play.directory)


def remove_node(play: Play, node: PlayNode, machines: Machines) -> None:
    """Delete one node on its machine, which the cluster does not have any more."""
    listed = run_job(play.without(node), machines, "node_list", {}, _LOOK_SECONDS)
    if str(node.node) in listed:
        raise InUse(f"{node.name} is still a node of the cluster; take it out with the job node_remove first")
    machines.tell([Told(node.address, "remove", machine.Named(play.id, node.node))]).all()
    play.without(node).save()


def look(play: Play, machines: Machines) -> list[NodeStatus]:
    """Look at every node of a play now; machines that do not answer are shown as that."""
    answers = _tell(play, machines, "look", _LOOK_SECONDS)
    seen = decode(answers.values, machine.Looked)
    return [
        NodeStatus(node, now.stage, now.state, 0, now.uptime, now.trouble)
        for node in play.nodes
        for now in [seen.get(node.address, _UNREACHABLE)]
    ]


def run_job(play: Play, machines: Machines, job: str, params: dict[str, Any], timeout: float | None = None) -> Any:
    """Run a job at the first node that answers, as root."""
    for node in play.nodes:
        wanted = machine.Call(play.id, node.node, job, params, timeout)
        answers = machines.tell([Told(node.address, "call", wanted)], timeout or 3600.0)
        if not isinstance(answers.errors.get(node.address), NodeOffline):
            return msgspec.json.decode(answers.all()[node.address])
    raise NodeOffline(f"no node of play {play.number} answers; c4 ps shows what runs")


def move_store(play: Play, node: PlayNode, machines: Machines, params: dict[str, Any]) -> str:
    """Move a play into another store, asking one of its nodes; what was compared."""
    return _at(node, machines, "move", machine.Move(play.id, node.node, params))


def compact_store(play: Play, node: PlayNode, machines: Machines) -> str:
    """Free space in the etcd that a node uses; what became of each member."""
    return _at(node, machines, "compact", machine.Named(play.id, node.node))


def recover_store(play: Play, node: PlayNode, machines: Machines) -> str:
    """Have a node go on alone; what may be missing."""
    return _at(node, machines, "recover", machine.Named(play.id, node.node))


def _at(node: PlayNode, machines: Machines, verb: str, body: Any) -> str:
    answers = machines.tell([Told(node.address, verb, body)], _STORE_SECONDS)
    told: str = decode(answers.all(), str)[node.address]
    return told


def _tell(play: Play, machines: Machines, verb: str, seconds: float = 150.0) -> Answers:
    return machines.tell(
        [Told(node.address, verb, machine.Named(play.id, node.node)) for node in play.nodes], seconds
    )  # fmt: skip


def _check_alike(facts: dict[str, machine.Facts]) -> None:
    for host, fact in facts.items():
        if fact.version != __version__:
            raise WrongState(f"{host} has OpenConfD {fact.version}, this machine {__version__}; install the same there")
    versions = {host: fact.postgresql for host, fact in facts.items()}
    if len(set(versions.values())) > 1:
        shown = ", ".join(f"{host} {version}" for host, version in versions.items())
        raise WrongState(f"the machines have different versions of PostgreSQL: {shown}; install the same packages")


def _make_parts(
    settings: Settings, machines: Machines, kits: Sequence[NodeKit], play_id: str
) -> dict[str, machine.MadePart]:
    orders = [
        Told(kit.address, "make", machine.Part(
            id=play_id, kit=kit, confd_port=settings.confd_port, db_port=settings.db_port, ports=settings.ports,
            database=settings.database if settings.with_db else None, active=settings.active_nodes,
        ))
        for kit in kits
    ]  # fmt: skip
    return decode(machines.tell(orders).all(), machine.MadePart)


def _play(
    settings: Settings, directory: Path, number: int, play_id: str, parts: dict[str, machine.MadePart], version: str
) -> Play:
    nodes = tuple(
        PlayNode(node=seat.node, address=seat.address, root=parts[seat.address].root,
                 runtime=parts[seat.address].runtime)
        for seat in settings.seats
    )  # fmt: skip
    return Play(
        number=number, id=play_id, created=time.time(), postgresql=version, nodes=nodes,
        engine=parts[nodes[0].address].engine, confd_port=settings.confd_port, db_port=settings.db_port,
        database=settings.database if settings.with_db else None, active=settings.active_nodes,
        ssh=settings.ssh, place=directory,
    )  # fmt: skip


def _undone(left: dict[str, ConfDError]) -> str:
    if not left:
        return "\nnothing is left of it on any machine"
    kept = "; ".join(f"{host}: {error.message}" for host, error in left.items())
    return f"\nit was undone, but not everywhere ({kept}); look there with c4 ps and delete it with c4 rm"
