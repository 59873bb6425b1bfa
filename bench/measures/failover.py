"""How long writes stop when the primary's node dies, or only its server, beside Patroni; and how long a start takes."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.peers import patroni
from bench.processes import undisturbed
from bench.settings import Settings
from bench.table import Report, Row, at_most, spread
from tests.cluster.harness import Cluster, until
from tests.cluster.mayhem import NAME, Nodes, Writer, kill_node, kill_server, primary

_NODES: Final = (12, 13, 14)
"""The master's node, n11, has no instance: its death would be another measure."""

_NODE_SECONDS: Final = 6.0
_SERVER_SECONDS: Final = 2.0
_START_SECONDS: Final = 2.0
_CALM_SECONDS: Final = 6.0
_PEER_PATIENCE: Final = 180.0


@dataclass(frozen=True)
class Outages:
    """Seconds without an accepted write after each kill, and the acknowledged rows that were not there at the end."""

    nodes: list[float]
    servers: list[float]
    lost: int
    rows: int


def failover(settings: Settings) -> Report:
    """Kill the node of the primary, and the server alone, again and again under a write loop; Patroni beside."""
    cluster = Cluster("CCC_PLAY_WITH_DB=false", nodes=4)
    try:
        started, ours = _measured(cluster, settings.failovers)
    finally:
        with undisturbed():
            cluster.remove()
    peer = patroni_outages(settings.failovers)
    notes = [_note(started, ours), peer.note]
    return Report([*_rows(ours, peer), _started_row(started)], notes)


def _measured(cluster: Cluster, runs: int) -> tuple[list[float], Outages]:
    _make(cluster)
    started = [_restart(cluster) for _ in range(runs)]
    writer = Writer(cluster, sorted(_NODES))
    writer.start()
    nodes = [_outage(cluster, writer, node=True) for _ in range(runs)]
    servers = [_outage(cluster, writer, node=False) for _ in range(runs)]
    return started, Outages(nodes, servers, len(writer.end()), len(writer.acknowledged))


def _rows(ours: Outages, peer: Peer) -> list[Row]:
    node, server = "primary's node killed, to the first accepted write", "PostgreSQL of the primary killed"
    rows = []
    for pace, measured in peer.outages.items():
        goal = not rows
        rows += [
            beside(node, ours.nodes, _NODE_SECONDS if goal else None, measured.nodes, f"{peer.name}, {pace}"),
            beside(server, ours.servers, _SERVER_SECONDS if goal else None, measured.servers, f"{peer.name}, {pace}"),
        ]
    if not rows:
        rows = [beside(node, ours.nodes, _NODE_SECONDS), beside(server, ours.servers, _SERVER_SECONDS)]
    theirs = [f"{one.lost} of {one.rows:,}" for one in peer.outages.values()]
    lost = f"{ours.lost} of {ours.rows:,}"
    return [*rows, Row("acknowledged rows lost", lost, "; ".join(theirs), goal="0", met=not ours.lost)]


def beside(measure: str, ours: list[float], limit: float | None, theirs: Sequence[float] = (), name: str = "") -> Row:
    """Return a line with the medians; without a limit it is for information."""
    one, other = statistics.median(ours), statistics.median(theirs) if theirs else None
    return Row(
        measure,
        f"{one:.2f} s",
        f"{other:.2f} s {name}" if other is not None else "",
        f"{one / other:.2f}" if other is not None else "",
        f"≤ {limit:g} s" if limit is not None else "",
        one <= limit if limit is not None else None,
    )


def _started_row(started: list[float]) -> Row:
    return at_most("db_start, 3 active nodes, existing data", statistics.median(started), _START_SECONDS, "s")


def _note(started: list[float], ours: Outages) -> str:
    return (
        f"failover: three active nodes beside the master's, redundancy 2, {len(started)} runs each under one write loop "
        "that connects again with target_session_attrs=read-write. Node: kill -9 of daemon, keeper and all servers of "
        f"the primary's node at once ({spread(ours.nodes, 2)} s, of which 3 s are until a node counts as offline); it "
        "rejoins between runs, which are 6 s apart or more. PostgreSQL: kill -9 of its postmaster alone "
        f"({spread(ours.servers, 2)} s). db_start {spread(started, 2)} s."
    )


@dataclass(frozen=True)
class Peer:
    """What was measured at the peer, by its settings; the note says how, or why nothing was."""

    name: str
    outages: dict[str, Outages]
    note: str


@functools.cache
def patroni_outages(runs: int) -> Peer:
    """Measure the same kills under the same write loop at Patroni, where it can be installed; once in a run."""
    try:
        with patroni.tools() as used:
            outages = {str(pace): _patroni(used, pace, runs) for pace in (patroni.FASTEST, patroni.DEFAULT)}
    except patroni.Unavailable as error:
        return Peer("", {}, f"failover: Patroni was not measured: {error}.")
    spreads = "; ".join(
        f"{pace}: node {spread(one.nodes, 2)} s, PostgreSQL {spread(one.servers, 2)} s" for pace, one in outages.items()
    )
    return Peer(
        f"Patroni {used.version}",
        outages,
        f"failover, peer: Patroni {used.version} with etcd on three nodes, each with a member of etcd, the same "
        "PostgreSQL, synchronous_mode quorum and strict (a commit is on one of two standbys when it returns, as with our "
        "redundancy 2), the same write loop, kills and number of runs. Killed is all of the node of the primary: Patroni, etcd and "
        "PostgreSQL. First with the least that its documentation allows for ttl, loop_wait and retry_timeout, then with "
        f"its defaults ({spreads}).",
    )


def _patroni(used: patroni.Tools, pace: patroni.Pace, runs: int) -> Outages:
    with patroni.running(used, pace) as peer:
        writer = Writer(peer)
        writer.start()
        nodes = [_peer_outage(peer, writer, kill_node) for _ in range(runs)]
        servers = [_peer_outage(peer, writer, kill_server) for _ in range(runs)]
        return Outages(nodes, servers, len(writer.end()), len(writer.acknowledged))


def _peer_outage(peer: patroni.Patroni, writer: Writer, strike: Callable[[Nodes, int], None]) -> float:
    until(peer.whole, "Patroni's nodes are healthy", _PEER_PATIENCE)
    writer.goes_on()
    victim = until(lambda: primary(peer), "there is a primary")
    began = time.perf_counter()
    strike(peer, victim)
    back: float = until(lambda: writer.back_after(began), "a row is accepted", _PEER_PATIENCE)
    peer.start()
    return back - began


def _make(cluster: Cluster) -> None:
    cluster.run(
        "st_volume_create", name="Bench", type="data", disk="disk1", size="1 GiB", nodes=list(_NODES),
        num_master_nodes=len(_NODES), redundancy=2,
    )  # fmt: skip
    cluster.run(
        "db_create", db_name=NAME, version="18", data_volume_name="Bench", mem_size="768 MiB", nodes=list(_NODES),
        num_active_nodes=len(_NODES), port=8563,
    )  # fmt: skip
    cluster.run("db_start", db_name=NAME)


def _restart(cluster: Cluster) -> float:
    cluster.run("db_stop", db_name=NAME)
    began = time.perf_counter()
    cluster.run("db_start", db_name=NAME)
    return time.perf_counter() - began


def _outage(cluster: Cluster, writer: Writer, *, node: bool) -> float:
    """Kill, and return the seconds from the kill to the first row accepted after it."""
    until(lambda: _whole(cluster), "the database is whole")
    writer.goes_on()
    # A server that dies again at once is started again more slowly; that is not what is measured.
    time.sleep(_CALM_SECONDS)
    victim = primary(cluster)
    assert victim is not None
    began = time.perf_counter()
    (kill_node if node else kill_server)(cluster, victim)
    back: float = until(lambda: writer.back_after(began), "a row is accepted")
    cluster.start()
    return back - began


def _whole(cluster: Cluster) -> bool:
    info = cluster.run("db_info", db_name=NAME)
    return info["nodes"]["failed"] == [] and info["connectible"] == "Yes" and info["info"] == ""
