"""A machine, or one more address of this one, becomes a node of a cluster that exists: ``c4 host join TOKEN``.

Everything that can be refused is refused before anything is written and before the token is spent.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from confd import __version__
from confd.cluster.certificates import new_request
from confd.cluster.identity import NodeFiles
from confd.cluster.joining.client import Way, find_way, knock
from confd.cluster.joining.tokens import Token, read
from confd.model.errors import AlreadyExists, ConfDError, NodeError, NodeOffline, PermissionDenied, TimedOut
from confd.play import home, processes
from confd.play.accounts import check_reachable, database_user, postgresql
from confd.play.calls import is_ready, run_job, trouble
from confd.play.firstconf import DEVICE, DISK
from confd.play.holders import check_free
from confd.play.kit import Ground, NodeKit, make_node, share_of_disk
from confd.play.record import Play, PlayNode, Progress
from confd.play.settings import ACCESS_NODE, DATABASE_PORT
from confd.play.unfinished import begin
from confd.services.nodes.admission import check_clock, check_version, make_another

_MADE_BY_C4: Final = re.compile(r"play[0-9]+_([0-9a-f]{8})")
_PATIENCE: Final = 60.0
_ASK_AGAIN_SECONDS: Final = 10.0
_LOOK: Final = 0.02

Say = Callable[[str], None]


class Joined(msgspec.Struct, frozen=True):
    """The play that the node belongs to here, and the node."""

    play: Play
    node: PlayNode


def join(text: str, say: Say) -> Joined:
    """Make a node by a token, start it and wait until it is in service. When it fails nothing is left here.

    :raises InvalidParameter: the text is no token.
    :raises InUse: address or port is taken.
    :raises AlreadyExists: the node is here already.
    :raises ConfDError: the cluster refuses, with its reason.
    """
    token = read(text)
    place = home.home()
    user = database_user()
    check_reachable(place, user)
    way = find_way(token)
    check_version(__version__, way.hall.version)
    check_clock(time.time(), way.hall.now)
    if way.hall.now > token.expires:
        raise PermissionDenied(f"the token has expired; {make_another(token.node)}")
    with home.alone():
        plays = home.plays()
        play = _play_of(token.cluster, plays)
        _check_new(token, play)
        check_free([token.address], {"ConfD": token.confd_port, "node": token.port}, _others(plays, play))
        sharing = sum(len(known.nodes) for known in plays) + 1
        ground = Ground(user, postgresql(place), share_of_disk(place, sharing))
        return _Joining(token, way, ground, play, say).run()


class _Joining:
    """One joining, from the knock at the cluster's door on."""

    def __init__(self, token: Token, way: Way, ground: Ground, play: Play | None, say: Say) -> None:
        self._token, self._way, self._ground, self._say = token, way, ground, say
        self._before = play
        self._play, self._node = _with_node(token, play, ground)

    def run(self) -> Joined:
        key, request = new_request(self._token.uuid)
        answer = knock(self._token, self._way, request)
        self._say(f"{self._token.cluster} lets this machine in as {self._node.name}")
        try:
            kit = NodeKit(
                cluster=self._token.cluster, node=self._token.node, uuid=self._token.uuid, address=self._token.address,
                port=self._token.port, members=answer.members, ca=self._way.hall.authority.encode(),
                certificate=answer.certificate.encode(), key=key, data_key=answer.data_key, files=answer.files,
                disk=False,
            )  # fmt: skip
            home.make_passable(self._play.directory)
            # Known before anything of it is there, so that c4 can delete it when this is cut off.
            (begin(self._play) if self._before is None else self._play).save()
            make_node(kit, self._node, self._ground)
            self._play.save()
            self._bring_up(request)
        except BaseException as error:
            self._undo()
            if isinstance(error, ConfDError):
                error.message = f"{error.message}\nnothing is left here; the token is spent, {make_another(kit.node)}"
            raise
        ready = self._play.with_progress(Progress.READY)
        ready.save()
        return Joined(ready, self._node)

    def _bring_up(self, request: bytes) -> None:
        self._wait_ready(request)
        sectors = 0 if self._node.node == ACCESS_NODE else self._ground.sectors
        params = {"nid": self._node.node, "disk": DISK, "devname": DEVICE, "seccount": sectors}
        run_job(self._node.socket, "node_joined", params, _PATIENCE)

    def _wait_ready(self, request: bytes) -> None:
        child = processes.start(self._node)
        begun = time.monotonic()
        ask_again = begun + _ASK_AGAIN_SECONDS
        while not is_ready(self._node.socket):
            if child.poll() is not None:
                words = processes.last_words(self._node)
                raise NodeOffline(f"the daemon of {self._node.name} ended; it last said\n{words}")
            if time.monotonic() > begun + _PATIENCE:
                if why := trouble(self._node.socket):
                    raise NodeError(f"{self._node.name} runs, but serves no clients: {why}")
                words = processes.last_words(self._node)
                raise TimedOut(
                    f"the cluster did not get to {self._node.name} at {self._node.address}:{self._token.port} within "
                    f"{_PATIENCE:g} s; let it through to that port\n{words}"
                )
            if time.monotonic() > ask_again:
                # It says so when the node was removed meanwhile.
                knock(self._token, self._way, request)
                ask_again += _ASK_AGAIN_SECONDS
            time.sleep(_LOOK)

    def _undo(self) -> None:
        processes.stop([self._node])
        home.clear_runtime([self._node])
        if self._before is None:
            with suppress(OSError):
                home.discard(self._play.directory)
        else:
            shutil.rmtree(self._node.root, ignore_errors=True)
            self._before.save()


def _play_of(cluster: str, plays: Iterable[Play]) -> Play | None:
    """Return the play here whose nodes belong to a cluster."""
    return next((play for play in plays if _cluster_of(play) == cluster), None)


def _cluster_of(play: Play) -> str:
    try:
        return NodeFiles(play.nodes[0].root).load_identity().cluster
    except ValueError:
        return ""


def _others(plays: Iterable[Play], own: Play | None) -> list[Play]:
    return [play for play in plays if own is None or play.id != own.id]


def _check_new(token: Token, play: Play | None) -> None:
    known = play.node(token.node) if play else None
    if play is not None and known is not None:
        raise AlreadyExists(
            f"play {play.number} has {known.name} already, in {known.root}; when it is no node of the cluster any "
            f"more, delete it first: c4 rm -t {play.number}.{known.node}"
        )
    taken = next((node for node in play.nodes if node.address == token.address), None) if play else None
    if taken is not None:
        raise AlreadyExists(f"{token.address} is the address of {taken.name} of the same cluster")


def _with_node(token: Token, play: Play | None, ground: Ground) -> tuple[Play, PlayNode]:
    """Return the play with one more node, or a new play with this one."""
    if play is not None:
        place, runtime = play.directory, play.nodes[0].runtime.parent
        node = _node(token, place, runtime)
        return msgspec.structs.replace(play, nodes=(*play.nodes, node)), node
    number, new_id = home.new_place()
    named = _MADE_BY_C4.fullmatch(token.cluster)
    # Where it can be, the id is the same on all machines.
    free = named is not None and all(known.id != named[1] for known in home.plays())
    play_id = named[1] if named is not None and free else new_id
    node = _node(token, home.home() / f"{number}_{play_id}", home.runtime(play_id))
    made = Play(
        number=number, id=play_id, created=time.time(), postgresql=ground.engine.version,
        engine=Path(ground.engine.prefix), nodes=(node,), confd_port=token.confd_port, db_port=DATABASE_PORT,
        database=None, active=(node.node,),
    )  # fmt: skip
    return made, node


def _node(token: Token, directory: Path, runtime: Path) -> PlayNode:
    name = f"n{token.node}"
    return PlayNode(node=token.node, address=token.address, root=directory / name, runtime=runtime / name)
