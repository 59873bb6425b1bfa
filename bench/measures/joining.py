"""How long it takes until a new node of a running cluster is ready, from ``node_add`` on."""

from __future__ import annotations

import statistics
import time
from typing import Final

from bench.clusters import plain_cluster
from bench.settings import Settings
from bench.table import Report, at_most, spread

_SECONDS: Final = 3.0
_LAST: Final = 14


def joining(settings: Settings) -> Report:
    """Add a node to a plain cluster of three and remove it, again and again."""
    taken: list[float] = []
    commands: list[float] = []
    with plain_cluster() as cluster:
        for _ in range(settings.runs):
            began = time.perf_counter()
            node: int = cluster.run("node_add", priv_net=f"{cluster.net}.{_LAST}/8")
            added = time.perf_counter()
            cluster.c4("host", "join", "-", stdin=cluster.c4("host", "token", str(node)))
            joined = time.perf_counter()
            ready = cluster.run("node_wait_ready", nids=[node])
            taken.append(time.perf_counter() - began)
            commands.append(joined - added)
            assert ready == [node], ready
            cluster.run("node_remove", nid=node)
            cluster.c4("rm", "-t", f"1.{node}")
    note = (
        f"joining: job node_add over XML-RPC, c4 host token, c4 host join on the same machine, job node_wait_ready; the "
        f"two commands are {statistics.median(commands):.2f} s of it. A plain cluster of three nodes, the new node is "
        f"removed again in between; median of {settings.runs} runs ({spread(taken, 2)} s)."
    )
    row = at_most("node_add to ready, on loopback", statistics.median(taken), _SECONDS, "s")
    return Report([row], [note])
