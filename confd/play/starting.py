"""Bringing a play up: daemons side by side, then the default database through the API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from subprocess import Popen
from typing import Any, Final, NamedTuple

import msgspec

from confd.model.errors import ConfDError, NodeError, NotFound, TimedOut, WrongState, error_from
from confd.model.sizes import format_exact
from confd.play import home, processes
from confd.play.calls import is_ready, run_job, trouble
from confd.play.firstconf import DEVICE, DISK
from confd.play.holders import check_ports
from confd.play.presence import confd_port, present
from confd.play.record import FILE, Play, PlayNode, Progress, load
from confd.play.settings import NODE_PORT, Settings
from confd.play.unfinished import check_files
from confd.services.storage.space import usable
from confd.services.storage.superblock import read_superblock

DATA_VOLUME: Final = "DataVolume1"
_LOOK: Final = 0.02
_PATIENCE: Final = 60.0
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_LARGEST_VOLUME: Final = 10 * _GIB
_STEP: Final = 256 * _MIB
_MEMORY_PER_NODE: Final = 2048
_MEMORY_SHARE: Final = 4
_LEAST_MEMORY: Final = 256

Say = Callable[[str], None]
RunJob = Callable[[str, dict[str, Any]], Any]
"""Runs a job of the play by name, with parameters."""


class DatabaseGround(NamedTuple):
    """What a database can have of a machine, in bytes: usable room per node, memory; and how many nodes share it."""

    room: int
    memory: int
    sharing: int


def start(play: Play, only: PlayNode | None = None, say: Say = lambda text: None) -> list[PlayNode]:
    """Start the daemons that do not run and wait until all nodes serve calls; return the nodes that were started.

    Nodes that were removed from the cluster are left alone. When one dies, those of a new play are stopped again; a
    play that ran before goes on without it.

    :param only: the node to start and wait for, instead of all.
    :param say: is told once of each node that something is in the way of, while it is waited for.
    :raises WrongState: that node was removed, or the files of the play are not all made.
    :raises NodeError: a daemon died, with its last words.
    :raises TimedOut: a node does not get ready, or cannot serve clients; with the reason.
    :raises InUse: somebody took a port meanwhile.
    """
    with home.alone(play.directory):
        if not (play.directory / FILE).exists():
            raise NotFound(f"play {play.number} was deleted meanwhile")
        check_files(play)
        nodes = _chosen(play, only)
        wanting = [node for node in nodes if processes.daemon(node) is None]
        home.make_runtime(wanting)
        for node in wanting:
            # A play that ran before starts also when clients cannot get in: only so can its settings be put right.
            confd = {} if play.progress is Progress.READY else {"ConfD": confd_port(play)}
            check_ports(node.address, {**confd, "node": NODE_PORT})
        try:
            children = {node: processes.start(node) for node in wanting}
            _wait_ready(nodes, children, say)
        except BaseException as error:
            if play.progress is Progress.READY and isinstance(error, NodeError | TimedOut):
                error.message += _left_running(play)
            else:
                processes.stop(wanting)
            raise
        if only is None and play.progress is not Progress.READY:
            play.with_progress(Progress.READY).save()
    return wanting


def _chosen(play: Play, only: PlayNode | None) -> list[PlayNode]:
    nodes = [node for node in present(play) if only is None or node.node == only.node]
    if only is not None and not nodes:
        raise WrongState(
            f"{only.name} was removed from the cluster; delete what is left of it: c4 rm -t {play.number}.{only.node}"
        )
    return nodes


def start_new(play: Play, say: Say) -> None:
    """Start a new play; remember it when it does not come up."""
    try:
        start(play, say=say)
    except BaseException:
        if (play.directory / FILE).exists():
            play.with_progress(Progress.FAILED).save()
        raise


def complete(play: Play) -> None:
    """Remember that everything of a new play is made."""
    with home.alone(play.directory):
        msgspec.structs.replace(load(play.directory), maker=None).save()


def make_database(settings: Settings, version: str, ground: DatabaseGround, run: RunJob, say: Say) -> None:
    """Make the data volume and the default database, and start it.

    :param version: of PostgreSQL.
    :raises ConfDError: it failed; the cluster is there without it, and the message says what can be done.
    """
    try:
        _make_database(settings, version, ground, run, say)
    except ConfDError as error:
        raise error_from(
            error.code,
            f"{error.message}; the cluster runs without a database that works: put that right with jobs "
            "(c4 connect), or delete the play (c4 rm)",
        ) from None


def _make_database(settings: Settings, version: str, ground: DatabaseGround, run: RunJob, say: Say) -> None:
    active = list(settings.active_nodes)
    size = min(_LARGEST_VOLUME, ground.room // 2 // _STEP * _STEP)
    redundancy = 2 if len(active) > 1 else 1
    say(f"making volume {DATA_VOLUME}, {format_exact(size)} on each of {_names(active)}")
    run(
        "st_volume_create", {"name": DATA_VOLUME, "type": "data", "disk": DISK, "size": format_exact(size),
        "nodes": active, "num_master_nodes": len(active), "redundancy": redundancy},
    )  # fmt: skip
    memory = settings.memory or _memory(ground.memory, len(active), ground.sharing)
    say(f"making database {settings.database}, {memory} MiB on {_names(active)}")
    run(
        "db_create", {"db_name": settings.database, "data_volume_name": DATA_VOLUME, "version": version,
        "mem_size": f"{memory} MiB", "port": settings.db_port, "nodes": list(settings.data_nodes),
        "num_active_nodes": len(active)},
    )  # fmt: skip
    run("db_start", {"db_name": settings.database})


def ground_here(play: Play, settings: Settings) -> DatabaseGround:
    """Return what a database has whose nodes share this machine."""
    active = settings.active_nodes
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return DatabaseGround(_usable(play, active[0]), memory, len(active))


def run_here(play: Play) -> RunJob:
    """Return how jobs are run at the first active node of a play on this machine."""
    first = play.node(play.active[0]) or play.nodes[0]
    return lambda job, params: run_job(first.socket, job, params)


def in_the_way(known: Mapping[str, str]) -> str:
    """Say what keeps nodes from serving clients, in lines of their own after a first one; nothing when none says so.

    :param known: trouble by node, empty of one that is on its way.
    """
    told = [f"\n{node} runs, but serves no clients: {trouble}" for node, trouble in known.items() if trouble]
    return "".join([*told, "\nit goes on as soon as that is put right"] if told else [])


def wait_stage(look: Callable[[], Mapping[str, str]], seconds: float, wanted: str, say: Say) -> None:
    """Wait until all nodes are at a stage.

    What a node says is in the way may be over already, since it tries again by itself: it is waited for all the same.

    :param look: returns the nodes that are not there yet, with their troubles.
    :param say: is told once of each node with a trouble.
    :raises TimedOut: they did not get there; says what is in the way.
    """
    until = time.monotonic() + seconds
    told: set[str] = set()
    while short := look():
        _tell_new(short, told, say)
        if time.monotonic() > until:
            raise TimedOut(
                f"{wanted} was not reached within {seconds:g} s; c4 ps shows how far it is{in_the_way(short)}"
            )
        time.sleep(_LOOK)


def _tell_new(troubles: Mapping[str, str], told: set[str], say: Say) -> None:
    for node, why in troubles.items():
        if why and node not in told:
            told.add(node)
            say(f"waiting for {node}, which runs, but serves no clients: {why}")


def _left_running(play: Play) -> str:
    names = _names(node.node for node in play.nodes if processes.daemon(node) is not None)
    return f"\n{names} of play {play.number} were left running; c4 ps shows them" if names else ""


def _wait_ready(nodes: Iterable[PlayNode], children: dict[PlayNode, Popen[bytes]], say: Say) -> None:
    until = time.monotonic() + _PATIENCE
    told: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for node, child in children.items():
            if child.poll() is not None:
                raise NodeError(
                    f"the daemon of {node.name} ended with status {child.returncode}; it last said\n"
                    f"{processes.last_words(node)}\nits log is {node.root / 'logs/logd/ConfD.log'}"
                )
        waiting = [node for node in waiting if not is_ready(node.socket)]
        _tell_new({node.name: trouble(node.socket) for node in waiting if node.name not in told}, told, say)
        if waiting and time.monotonic() > until:
            troubles = {node.name: trouble(node.socket) for node in waiting}
            # A node that says what is in the way has told everything.
            silent = [node for node in waiting if not troubles[node.name]]
            words = "".join(f"\n{node.name}:\n{processes.last_words(node)}" for node in silent)
            late = _names(node.node for node in waiting)
            raise TimedOut(f"{late} did not get ready within {_PATIENCE:g} s{in_the_way(troubles)}{words}")
        if waiting:
            time.sleep(_LOOK)


def _usable(play: Play, node: int) -> int:
    known = play.node(node)
    assert known is not None
    block = read_superblock(known.root / "data/storage" / DEVICE)
    return usable(block.capacity) if block else _GIB


def _memory(machine: int, nodes: int, sharing: int) -> int:
    """Return MiB for a database: 2 GiB per node as usual, less where nodes share a small machine."""
    share = min(_MEMORY_PER_NODE, machine // _MIB // _MEMORY_SHARE // sharing)
    return max(_LEAST_MEMORY, share // _LEAST_MEMORY * _LEAST_MEMORY) * nodes


def _names(nodes: Iterable[int]) -> str:
    return ", ".join(f"n{node}" for node in nodes)
