"""How long it takes to make a cluster, and what its idle daemons hold."""

from __future__ import annotations

import statistics
import time
from typing import Final

import psutil

from bench.clusters import plain_cluster
from bench.settings import Settings
from bench.table import Report, at_most, spread

_SECONDS: Final = 4.0
_MEBIBYTES: Final = 80.0


def play(settings: Settings) -> Report:
    """Make plays of three nodes without a database, one after the other."""
    taken: list[float] = []
    memory: list[float] = []
    for _ in range(settings.runs):
        began = time.perf_counter()
        with plain_cluster() as cluster:
            taken.append(time.perf_counter() - began)
            # Being idle for a while is the condition here, not a way to wait for one.
            time.sleep(settings.idle_seconds)
            sizes = [psutil.Process(cluster.pid(node)).memory_info().rss for node in cluster.addresses]
            memory += [size / 2**20 for size in sizes]
    rows = [
        at_most("c4 host play, 3 nodes, no database", statistics.median(taken), _SECONDS, "s"),
        at_most("idle memory of a daemon (RSS, largest)", max(memory), _MEBIBYTES, "MiB", 1),
    ]
    note = (
        f"play: wall time of the command, median of {settings.runs} runs ({spread(taken, 2)} s); memory after "
        f"{settings.idle_seconds:g} idle seconds, {len(memory)} daemons ({spread(memory, 1)} MiB)."
    )
    return Report(rows, [note])
