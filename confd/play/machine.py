"""What c4 on one machine does for a play over several machines: ``c4 machine VERB``, a JSON body in, JSON out.

The other side is ``remote.py``. What is made here is a play of its own, with the id of the whole, so c4 on this machine
knows it like any other.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from confd import __version__
from confd.model.errors import AlreadyExists, ConfDError, InUse, InvalidParameter, NotFound
from confd.play import home, listing, processes, starting, stopping
from confd.play.accounts import check_reachable, database_user, embedded, postgresql
from confd.play.calls import run_job
from confd.play.holders import check_free
from confd.play.kit import Ground, NodeKit, make_node, share_of_disk
from confd.play.record import Play, PlayNode
from confd.play.unfinished import begin
from confd.services.storage.space import usable

_SECTOR: Final = 4096


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine is to have free: an address and ports by what they are for."""

    address: str
    ports: dict[str, int]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine is: versions, memory in bytes."""

    version: str
    python: str
    postgresql: str
    memory: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A node to be made, and the play it is of."""

    id: str
    kit: NodeKit
    confd_port: int
    db_port: int
    ports: dict[str, int]
    database: str | None
    active: tuple[int, ...]


class MadePart(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was made: where it lies on its machine, and the usable bytes of its disk."""

    root: Path
    runtime: Path
    engine: Path
    room: int


class Named(msgspec.Struct, frozen=True):
    """A node of a play; ``alone``: it is meant without others that are on the same machine."""

    id: str
    node: int
    alone: bool = False


class Looked(msgspec.Struct, frozen=True):
    """How far a node is."""

    stage: str
    state: listing.State
    uptime: float | None
    trouble: str = ""


class Call(msgspec.Struct, frozen=True):
    """A job for the daemon of a node."""

    id: str
    node: int
    job: str
    params: dict[str, Any]
    timeout: float | None = None


class Move(msgspec.Struct, frozen=True):
    """Another store for the cluster, asked of a node: the parameters of the job store_move."""

    id: str
    node: int
    params: dict[str, Any]


def check(wish: Wish) -> Facts:
    """Tell what this machine is, and refuse what a node could not run on; nothing is made."""
    check_reachable(home.home(), None)
    _check_own(wish.address)
    check_free([wish.address], wish.ports, home.plays())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Facts(version=__version__, python=platform.python_version(), postgresql=embedded().version, memory=memory)


def make(part: Part) -> MadePart:
    """Make a node; nothing is left of it when it fails."""
    user = database_user()
    check_reachable(home.home(), user)
    with home.alone():
        plays = home.plays()
        play = next((known for known in plays if _is_part(known, part.id)), None)
        others = [known for known in plays if play is None or known.number != play.number]
        check_free([part.kit.address], part.ports, others)
        if play is not None and play.node(part.kit.node) is not None:
            raise AlreadyExists(f"n{part.kit.node} of play {part.id} is here already, in {play.directory}")
        engine = postgresql(home.home())
        ground = Ground(user, engine, share_of_disk(home.home(), sum(len(known.nodes) for known in plays) + 1))
        place = play.directory if play else home.home() / f"{home.new_place()[0]}_{part.id}"
        name = f"n{part.kit.node}"
        node = PlayNode(
            node=part.kit.node, address=part.kit.address, root=place / name, runtime=home.runtime(part.id) / name
        )
        made = _with_node(play, part, node, ground)
        home.make_passable(place)
        try:
            # Known before anything of it is there, so that c4 can delete it when this is cut off.
            begin(made).save()
            make_node(part.kit, node, ground)
            made.save()
        except BaseException:
            home.clear_runtime([node])
            if play is None:
                with suppress(OSError):
                    home.discard(place)
            else:
                shutil.rmtree(node.root, ignore_errors=True)
                play.save()
            raise
    room = usable(ground.sectors * _SECTOR) if part.kit.disk else 0
    return MadePart(root=node.root, runtime=node.runtime, engine=Path(engine.prefix), room=room)


def start(named: Named) -> bool:
    """Start the daemons of a play that do not run here and wait until they serve; tell whether the node was started."""
    play = _find(named.id)
    only = home.pick(play, named.node) if named.alone else None
    return any(node.node == named.node for node in starting.start(play, only))


def stop(named: Named) -> None:
    """Stop all processes of a node."""
    play = _find(named.id)
    with home.alone(play.directory):
        processes.stop([home.pick(play, named.node)])


def quiet(named: Named) -> None:
    """Stop databases that do not start with the cluster."""
    stopping.stop_databases(_find(named.id))


def remove(named: Named) -> None:
    """Stop and delete a node; fine when there is none."""
    with suppress(NotFound):
        play = _find(named.id)
        node = play.node(named.node)
        if node is not None:
            stopping.discard_node(play, node)


def look(named: Named) -> Looked:
    """Tell how far a node is."""
    for status in listing.look(_find(named.id)):
        if status.node.node == named.node:
            return Looked(status.stage, status.state, status.uptime, status.trouble)
    raise NotFound(f"play {named.id} has no n{named.node} on this machine")


def call(wanted: Call) -> Any:
    """Run a job at a node; the caller acts as root there."""
    node = home.pick(_find(wanted.id), wanted.node)
    return run_job(node.socket, wanted.job, wanted.params, wanted.timeout)


# What knows stores takes longer to load than most verbs do: it is loaded by those who need it.


def move(wanted: Move) -> str:
    """Move the cluster into another store, asking a node here."""
    from confd.play import storing

    play = _find(wanted.id)
    return storing.move(play, home.pick(play, wanted.node), wanted.params)


def compact(named: Named) -> str:
    """Free space in the etcd that a node here uses."""
    from confd.play import storing

    return storing.compact(home.pick(_find(named.id), named.node))


def recover(named: Named) -> str:
    """Have a node here go on alone."""
    from confd.play import storing

    return storing.recover(home.pick(_find(named.id), named.node))


_VERBS: Final[Mapping[str, tuple[type[Any], Callable[[Any], Any]]]] = {
    "check": (Wish, check), "make": (Part, make), "start": (Named, start), "stop": (Named, stop),
    "quiet": (Named, quiet), "remove": (Named, remove), "look": (Named, look), "call": (Call, call),
    "move": (Move, move), "compact": (Named, compact), "recover": (Named, recover),
}  # fmt: skip


def answer(verb: str, body: bytes) -> tuple[bytes, int]:
    """Answer one call; the answer and the exit status. Errors travel as code and message."""
    kind, function = _VERBS[verb]
    try:
        given = msgspec.json.decode(body, type=kind, dec_hook=lambda wanted, text: wanted(text))
        return msgspec.json.encode(function(given), enc_hook=str), 0
    except msgspec.DecodeError as error:
        failed: ConfDError = InvalidParameter(f"c4 machine {verb} does not understand what it was sent: {error}")
    except ConfDError as error:
        failed = error
    return msgspec.json.encode({"code": failed.code, "message": failed.message}), 1


def verbs() -> list[str]:
    """Return what a machine can be told."""
    return list(_VERBS)


def _check_own(address: str) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise InUse(f"{address} is not an address of this machine ({error.strerror})") from None


def _is_part(play: Play, play_id: str) -> bool:
    return play.id == play_id and play.ssh is None


def _find(play_id: str) -> Play:
    usable, unusable = home.look()
    found = next((play for play in usable if _is_part(play, play_id)), None)
    if found is None and (lost := next((one for one in unusable if one.id == play_id), None)) is not None:
        # Something may run there: nobody must take it for deleted.
        raise lost.error
    if found is None:
        raise NotFound(f"nothing of play {play_id} is on this machine, in {home.home()}")
    return found


def _with_node(play: Play | None, part: Part, node: PlayNode, ground: Ground) -> Play:
    if play is not None:
        return msgspec.structs.replace(play, nodes=(*play.nodes, node))
    number = int(node.root.parent.name.partition("_")[0])
    return Play(
        number=number, id=part.id, created=time.time(), postgresql=ground.engine.version,
        engine=Path(ground.engine.prefix), nodes=(node,), confd_port=part.confd_port, db_port=part.db_port,
        database=part.database, active=part.active,
    )  # fmt: skip
