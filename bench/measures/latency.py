"""How long one client waits until its change is committed on three nodes."""

from __future__ import annotations

import statistics
from typing import Final

from bench.clusters import MASTER, alternating, load, make_users, plain_cluster
from bench.machine import fdatasync
from bench.settings import Settings
from bench.table import Report, Row, at_most, percentile

_P50: Final = 8.0
_P99: Final = 40.0


def latency(settings: Settings) -> Report:
    """Measure user_modify with one client, and the disk between the rounds."""
    latencies: list[float] = []
    syncs: list[float] = []
    with plain_cluster() as cluster:
        calls = alternating(make_users(cluster, 1))
        for _ in range(settings.rounds):
            latencies += load(cluster.addresses[MASTER], calls, settings.latency_seconds).latencies
            syncs += fdatasync(cluster.home, 100)
    middle, sync = statistics.median(latencies), statistics.median(syncs)
    rows = [
        at_most("modify job, submit to committed on 3 nodes, p50", 1e3 * middle, _P50, "ms"),
        at_most("modify job, submit to committed on 3 nodes, p99", 1e3 * percentile(latencies, 0.99), _P99, "ms"),
        Row(
            "the p50 in fdatasyncs", f"{1e3 * middle:.2f} ms", f"{1e3 * sync:.2f} ms one fdatasync",
            f"{middle / sync:.1f}",
        ),
    ]  # fmt: skip
    note = (
        f"latency: {len(latencies):,} jobs user_modify, each a change, one client over HTTPS; committed means durable in "
        "the journal and written to EXAConf on all three nodes. The fdatasyncs (4 KiB appended) were measured between "
        "the rounds on the same disk."
    )
    return Report(rows, [note])
