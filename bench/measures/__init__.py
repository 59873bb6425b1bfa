"""All measures by name. A new one is a function ``Settings -> Report``, added here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.measures.backups import backups
from bench.measures.databases import databases
from bench.measures.etcd import etcd
from bench.measures.failover import failover
from bench.measures.fanout import fanout
from bench.measures.history import history
from bench.measures.joining import joining
from bench.measures.latency import latency
from bench.measures.masters import masters
from bench.measures.play import play
from bench.measures.reading import reading
from bench.measures.throughput import throughput
from bench.settings import Settings
from bench.table import Report

MEASURES: Final[dict[str, Callable[[Settings], Report]]] = {
    "read": reading,
    "latency": latency,
    "throughput": throughput,
    "history": history,
    "play": play,
    "joining": joining,
    "database": databases,
    "backup": backups,
    "failover": failover,
    "failover-etcd": masters,
    "fanout": fanout,
    "etcd": etcd,
}
