"""How long writes stop when the primary's node dies, or only its server; and how long a start takes."""

from __future__ import annotations

import statistics
import time
from typing import Final

from bench.processes import undisturbed
from bench.settings import Settings
from bench.table import Report, Row, at_most, spread
from tests.cluster.harness import Cluster, until
from tests.cluster.mayhem import NAME, Writer, kill_node, kill_server, primary

_NODES: Final = (12, 13, 14)
"""The master's node, n11, has no instance: its death would be another measure."""

_NODE_SECONDS: Final = 6.0
_SERVER_SECONDS: Final = 2.0
_START_SECONDS: Final = 2.0
_CALM_SECONDS: Final = 6.0


def failover(settings: Settings) -> Report:
    """Kill the node of the primary, and the server alone, again and again under a write loop."""
    cluster = Cluster("CCC_PLAY_WITH_DB=false", nodes=4)
    try:
        return _measured(cluster, settings.failovers)
    finally:
        with undisturbed():
            cluster.remove()


def _measured(cluster: Cluster, runs: int) -> Report:
    _make(cluster)
    started = [_restart(cluster) for _ in range(runs)]
    writer = Writer(cluster, sorted(_NODES))
    writer.start()
    nodes = [_outage(cluster, writer, node=True) for _ in range(runs)]
    servers = [_outage(cluster, writer, node=False) for _ in range(runs)]
    lost = writer.end()
    rows = [
        at_most("primary's node killed, to the first accepted write", statistics.median(nodes), _NODE_SECONDS, "s"),
        at_most("PostgreSQL of the primary killed", statistics.median(servers), _SERVER_SECONDS, "s"),
        Row("acknowledged rows lost", f"{len(lost)} of {len(writer.acknowledged):,}", goal="0", met=not lost),
        at_most("db_start, 3 active nodes, existing data", statistics.median(started), _START_SECONDS, "s"),
    ]
    note = (
        f"failover: three active nodes beside the master's, redundancy 2, {runs} runs each under one write loop that "
        "connects again with target_session_attrs=read-write. Node: kill -9 of daemon, keeper and all servers of the "
        f"primary's node at once ({spread(nodes, 2)} s, of which 3 s are until a node counts as offline); it rejoins "
        f"between runs, which are 6 s apart or more. PostgreSQL: kill -9 of its postmaster alone ({spread(servers, 2)} s). "
        f"db_start {spread(started, 2)} s."
    )
    return Report(rows, [note])


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
