"""How long writes stop when the node of the primary is the master's, too, and etcd is the store; Patroni beside."""

from __future__ import annotations

import contextlib
import ssl
import time
import urllib.request
from typing import Final

from bench.measures.failover import Outages, beside, patroni_outages
from bench.processes import undisturbed
from bench.settings import Settings
from bench.table import Report, Row, spread
from tests.cluster.harness import Cluster, until
from tests.cluster.mayhem import NAME, Writer, kill_node, primary

_SECONDS: Final = 8.0
_CALM_SECONDS: Final = 6.0
_PATIENCE: Final = 180.0


def masters(settings: Settings) -> Report:
    """Kill the node that has the primary, the mastership and a member of etcd, again and again under a write loop."""
    cluster = Cluster("CCC_PLAY_STORE=etcd")
    try:
        ours = _measured(cluster, settings.failovers)
    finally:
        with undisturbed():
            cluster.remove()
    peer = patroni_outages(settings.failovers)
    measure = "primary and master on the killed node (etcd), to the first accepted write"
    rows = [
        beside(measure, ours.nodes, None if number else _SECONDS, one.nodes, f"{peer.name}, {pace}")
        for number, (pace, one) in enumerate(peer.outages.items())
    ] or [beside(measure, ours.nodes, _SECONDS)]
    lost = Row("acknowledged rows lost (etcd)", f"{ours.lost} of {ours.rows:,}", goal="0", met=not ours.lost)
    note = (
        "failover with etcd: three active nodes, redundancy 2, a member of etcd on each. Before each of "
        f"{len(ours.nodes)} runs the mastership is given to the primary's node; then kill -9 of daemon, keeper, all "
        f"servers and the member of etcd there ({spread(ours.nodes, 2)} s). It rejoins between runs. The etcd of this "
        "machine syncs to the same disk as everything else. Nodes share a machine, so the end of the old primary is "
        "seen by its processes; where they do not, it follows from its lease, which takes a second more than the 3 s "
        "that a lease lasts."
    )
    return Report([*rows, lost], [note, peer.note])


def _measured(cluster: Cluster, runs: int) -> Outages:
    until(lambda: _whole(cluster), "the cluster is whole", _PATIENCE)
    writer = Writer(cluster)
    writer.start()
    nodes = [_outage(cluster, writer) for _ in range(runs)]
    return Outages(nodes, [], len(writer.end()), len(writer.acknowledged))


def _outage(cluster: Cluster, writer: Writer) -> float:
    until(lambda: _whole(cluster), "the cluster is whole", _PATIENCE)
    victim = until(lambda: primary(cluster), "there is a primary")
    until(lambda: _lead(cluster, victim), f"n{victim} is master", _PATIENCE)
    writer.goes_on()
    time.sleep(_CALM_SECONDS)
    began = time.perf_counter()
    kill_node(cluster, victim)
    back: float = until(lambda: writer.back_after(began), "a row is accepted", _PATIENCE)
    cluster.start()
    return back - began


def _lead(cluster: Cluster, node: int) -> bool:
    """Have a node be master; True once it is."""
    with contextlib.suppress(OSError, AssertionError):
        if not _is_master(cluster, node):
            cluster.run("master_change", node, nids=[node])
        return _is_master(cluster, node)
    return False


def _is_master(cluster: Cluster, node: int) -> bool:
    url = f"https://{cluster.addresses[node]}:20003/is_master"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, context=context, timeout=20) as answer:
        return bool(answer.read() == b"true")


def _whole(cluster: Cluster) -> bool:
    for node in cluster.addresses:
        try:
            info = cluster.run("db_info", node, db_name=NAME)
        except (OSError, AssertionError):
            return False
        if info["nodes"]["failed"] or info["connectible"] != "Yes" or info["info"]:
            return False
    return True
