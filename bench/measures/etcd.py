"""With etcd as the store: how long a change takes beside one put, and how soon a survivor takes one."""

from __future__ import annotations

import statistics
import time
from typing import Any, Final

from bench.clusters import alternating, load, make_users
from bench.processes import undisturbed
from bench.settings import Settings
from bench.table import Report, Row, at_most, percentile, spread
from confd.store.choice import load_choice
from confd.store.etcd.client import EtcdClient
from tests.cluster.harness import Cluster, until
from tests.cluster.test_etcd_outages import kill_everything, masters

_PUTS: Final = 3.0
_TAKEN_SECONDS: Final = 5.0
_CALM_SECONDS: Final = 6.0
_VALUE: Final = b"x" * 1_000


def etcd(settings: Settings) -> Report:
    """Measure user_modify in etcd mode with one client between puts, then kill all of the master's node again and again."""
    cluster = Cluster("CCC_PLAY_WITH_DB=false", "CCC_PLAY_STORE=etcd")
    try:
        latencies, puts = _latency(cluster, settings)
        taken = [_taken(cluster, number) for number in range(settings.failovers)]
    finally:
        with undisturbed():
            cluster.remove()
    middle, put = statistics.median(latencies), statistics.median(puts)
    rows = [
        Row(
            "etcd mode: modify job, submit to committed on 3 nodes, p50", f"{1e3 * middle:.2f} ms",
            f"{1e3 * put:.2f} ms one etcd put", f"{middle / put:.2f}", f"≤ {_PUTS:g}", middle <= _PUTS * put,
        ),
        Row("etcd mode: the same, p99", f"{1e3 * percentile(latencies, 0.99):.2f} ms"),
        at_most("etcd mode: master's node killed, to a modify job done by a survivor", statistics.median(taken),
                _TAKEN_SECONDS, "s"),
    ]  # fmt: skip
    note = (
        f"etcd: {len(latencies):,} jobs user_modify, one client over HTTPS to the master, three nodes with a member of "
        f"etcd each (TLS, password), committed as in latency; {len(puts):,} puts of 1,000 bytes by the same client "
        f"library between the rounds. Then {len(taken)} times everything on the master's node was killed, etcd's member "
        f"included, and group_create called on another node at once: {spread(taken, 2, ' s')}."
    )
    return Report(rows, [note])


def _latency(cluster: Cluster, settings: Settings) -> tuple[list[float], list[float]]:
    calls, latencies, puts = alternating(make_users(cluster, 1)), list[float](), list[float]()
    for _ in range(settings.rounds):
        (master,) = until(lambda: masters(cluster), "a master")
        latencies += load(cluster.addresses[master], calls, settings.latency_seconds).latencies
        puts += _puts(cluster, master, settings.latency_seconds / 2)
    return latencies, puts


def _puts(cluster: Cluster, node: int, seconds: float) -> list[float]:
    access = load_choice(cluster.root(node)).etcd
    assert access is not None
    client, taken = EtcdClient(access), list[float]()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        client.put(b"/bench", _VALUE)
        taken.append(time.perf_counter() - began)
    client.close()
    return taken


def _taken(cluster: Cluster, number: int) -> float:
    until(lambda: _is_whole(cluster), "all nodes are online")
    (master,) = until(lambda: masters(cluster), "a master")
    # Members of etcd that just came back must have caught up, or the next loss is one of the majority.
    time.sleep(_CALM_SECONDS)
    survivor = min(cluster.addresses.keys() - {master})
    began = time.perf_counter()
    kill_everything(cluster, master)
    cluster.run("group_create", node=survivor, groupname=f"bench{number}", groupid=30_000 + number)
    taken = time.perf_counter() - began
    cluster.start()
    return taken


def _is_whole(cluster: Cluster) -> bool:
    states: dict[str, Any] = cluster.run("node_state", node=min(cluster.addresses))
    return all(states[str(node)] == "online" for node in cluster.addresses)
