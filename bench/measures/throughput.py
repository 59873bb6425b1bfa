"""Changes per second with 32 clients, beside a task queue that runs tasks which do nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from bench.clusters import MASTER, alternating, load, make_users, plain_cluster
from bench.peers.huey_clients import huey_rate
from bench.peers.huey_consumer import WORKERS
from bench.processes import peer
from bench.settings import Settings
from bench.table import Report, compared, spread

CLIENTS: Final = 32


def throughput(settings: Settings) -> Report:
    """Measure user_modify on 32 users at once, taking turns with huey."""
    ours: list[float] = []
    theirs: list[float] = []
    with plain_cluster() as cluster, tempfile.TemporaryDirectory(prefix="bench-huey-") as place:
        calls = alternating(make_users(cluster, CLIENTS))
        database = Path(place) / "huey.db"
        with peer("huey_consumer", str(database)):
            for _ in range(settings.rounds):
                ours.append(load(cluster.addresses[MASTER], calls, settings.seconds).rate)
                theirs.append(huey_rate(database, CLIENTS, settings.seconds))
    goal = ("≥ 1", lambda ratio: ratio >= 1.0)
    row = compared("modify jobs, 32 clients", ours, theirs, goal, peer_name="huey, no-op tasks")
    note = (
        f"throughput: user_modify by 32 clients on 32 users, committed on 3 nodes ({spread(ours)} /s), beside SqliteHuey "
        f"with fsync=True on the same disk: a consumer process with {WORKERS} worker threads, 32 client threads in one "
        f"process which enqueue a no-op task and wait for its result ({spread(theirs)} /s); polling delays set for the "
        "highest rate. huey keeps no history, no replica and serves no network."
    )
    return Report([row], [note])
