"""What a long history costs: two clusters side by side, one of them with many finished jobs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Final

from bench.clusters import MASTER, alternating, load, make_users, plain_cluster
from bench.measures.past import write_past
from bench.measures.throughput import CLIENTS
from bench.settings import Settings
from bench.table import Report, compared
from tests.cluster.harness import Cluster

_ALLOWED: Final = 1.1


def history(settings: Settings) -> Report:
    """Measure latency and rate of changes on both clusters in turn."""
    waits: dict[str, list[float]] = {"with": [], "without": []}
    rates: dict[str, list[float]] = {"with": [], "without": []}
    with plain_cluster() as old, plain_cluster() as young:
        clusters = {"with": old, "without": young}
        calls = {name: alternating(make_users(cluster, CLIENTS)) for name, cluster in clusters.items()}
        write_past(old, settings.history)
        for turn in range(settings.rounds):
            # Who comes first changes, because the first may find what the other has left to the disk.
            for name in ("with", "without") if turn % 2 else ("without", "with"):
                address = clusters[name].addresses[MASTER]
                one = load(address, calls[name][:1], settings.latency_seconds)
                waits[name].append(1e3 * statistics.median(one.latencies))
                rates[name].append(load(address, calls[name], settings.seconds).rate)
        kept = _listed(old)
    count = f"{settings.history:,}"
    peer_name = "without"
    goal: tuple[str, Callable[[float], bool]] = ("≤ 1.1", lambda ratio: ratio <= _ALLOWED)
    slower: tuple[str, Callable[[float], bool]] = ("≥ 1/1.1", lambda ratio: ratio >= 1 / _ALLOWED)
    rows = [
        compared(f"modify job p50 with {count} jobs in the history", waits["with"], waits["without"], goal,
                 peer_name=peer_name, unit="ms", digits=2),
        compared(f"modify jobs, 32 clients, with {count} jobs in the history", rates["with"], rates["without"], slower,
                 peer_name=peer_name),
    ]  # fmt: skip
    note = (
        f"history: two clusters side by side, measured in turn; the journals of one hold {count} finished jobs (5 of 6 "
        f"modify jobs with a revision each, 1 of 6 read jobs), repeated from real ones; its job_history lists {kept}."
    )
    return Report(rows, [note])


def _listed(cluster: Cluster) -> str:
    lines = cluster.run("job_history", limit=10_000)
    oldest, newest = lines[-1]["job_id"], lines[0]["job_id"]
    return f"{len(lines):,} jobs at a time ({oldest} to {newest})"
