"""How long a database of three nodes takes to be made, started and stopped."""

from __future__ import annotations

import statistics
import time
from typing import Final

from bench.clusters import plain_cluster
from bench.settings import Settings
from bench.table import Report, at_most, spread
from tests.cluster.harness import Cluster

_START_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0
_NAME: Final = "bench"


def databases(settings: Settings) -> Report:
    """Make, start, stop and delete a database again and again."""
    started: list[float] = []
    stopped: list[float] = []
    with plain_cluster() as cluster:
        nodes = list(cluster.addresses)
        cluster.run(
            "st_volume_create", name="Bench", type="data", disk="disk1", size="1 GiB", nodes=nodes,
            num_master_nodes=len(nodes), redundancy=2,
        )  # fmt: skip
        for _ in range(settings.runs):
            started.append(_start(cluster, nodes))
            assert cluster.run("db_state", db_name=_NAME) == "running"
            began = time.perf_counter()
            cluster.run("db_stop", db_name=_NAME)
            stopped.append(time.perf_counter() - began)
            cluster.run("db_delete", db_name=_NAME)
    rows = [
        at_most("db_create + db_start, 3 active nodes", statistics.median(started), _START_SECONDS, "s"),
        at_most("db_stop, 3 active nodes", statistics.median(stopped), _STOP_SECONDS, "s"),
    ]
    note = (
        f"database: PostgreSQL on 3 nodes of one machine, one primary and two streaming standbys, from no files to "
        f"running; medians of {settings.runs} runs (start {spread(started, 2)} s, stop {spread(stopped, 2)} s)."
    )
    return Report(rows, [note])


def _start(cluster: Cluster, nodes: list[int]) -> float:
    began = time.perf_counter()
    cluster.run(
        "db_create", db_name=_NAME, version="18", data_volume_name="Bench", mem_size="768 MiB", nodes=nodes,
        num_active_nodes=len(nodes), port=8563,
    )  # fmt: skip
    cluster.run("db_start", db_name=_NAME)
    return time.perf_counter() - began
