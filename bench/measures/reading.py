"""Read jobs per second over HTTPS, beside servers that do less."""

from __future__ import annotations

import json
from typing import Final

from bench.clusters import MASTER, call, load, plain_cluster
from bench.load import Load
from bench.processes import peer
from bench.settings import Settings
from bench.table import Report, Row, compared, spread

_OURS: Final = "confd"
_AIOHTTP: Final = "bare aiohttp"
_THREADS: Final = "threading xmlrpc.server"
_CALL: Final = call("user_info", username="admin")


def reading(settings: Settings) -> Report:
    """Measure with 1 and 32 connections, servers taking turns."""
    rows: list[Row] = []
    notes = [
        (
            "read: job user_info on the master, Basic login; the peers decode the same call with xmlrpc.client.loads and "
            "encode the same answer with xmlrpc.client.dumps, and know neither logins, rights nor a journal. Same TLS "
            "certificate and versions, same load generator, same number of keep-alive connections, one server process each; "
            f"medians of {settings.rounds} rounds of {settings.seconds:g} s in turn."
        ),
    ]
    with plain_cluster() as cluster:
        answer = json.dumps(cluster.try_run("user_info", username="admin"))
        shown = cluster.root(MASTER) / "etc/ssl"
        words = ("--cert", str(shown / "ssl.crt"), "--key", str(shown / "ssl.key"), "--answer", answer)
        with peer("bare_aiohttp", *words) as aiohttp, peer("threading_xmlrpc", *words) as threads:
            servers = {
                _OURS: (cluster.addresses[MASTER], 20003),
                _AIOHTTP: ("127.0.0.1", aiohttp),
                _THREADS: ("127.0.0.1", threads),
            }
            for connections in (1, 32):
                loads = _rounds(settings, servers, connections)
                rows += _rows(loads, connections)
                notes.append(_spreads(loads, connections))
    return Report(rows, notes)


def _rounds(settings: Settings, servers: dict[str, tuple[str, int]], connections: int) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for _ in range(settings.rounds):
        for name, (address, port) in servers.items():
            loads[name].append(load(address, [[_CALL]] * connections, settings.seconds, port))
    return loads


def _rows(loads: dict[str, list[Load]], connections: int) -> list[Row]:
    rates = {name: [one.rate for one in rounds] for name, rounds in loads.items()}
    measure = f"read job, {connections} connection{'s'[: connections > 1]}"
    return [
        compared(measure, rates[_OURS], rates[_AIOHTTP], ("≥ 0.5", lambda ratio: ratio >= 0.5), peer_name=_AIOHTTP),
        compared(measure, rates[_OURS], rates[_THREADS], ("≥ 2", lambda ratio: ratio >= 2.0), peer_name=_THREADS),
    ]


def _spreads(loads: dict[str, list[Load]], connections: int) -> str:
    parts = []
    for name, rounds in loads.items():
        busy = max(one.busy for one in rounds)
        limit = " (the generator was the limit)" if busy > 0.9 else ""
        parts.append(f"{name} {spread([one.rate for one in rounds])} /s, generator {busy:.0%} of a core{limit}")
    return f"read, {connections} connections: {'; '.join(parts)}."
