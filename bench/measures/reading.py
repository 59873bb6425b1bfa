"""Read jobs per second over HTTPS, beside servers that do less."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from bench.clusters import MASTER, call, load, plain_cluster
from bench.load import Load
from bench.processes import peer
from bench.settings import Settings
from bench.table import Report, Row, compared, spread

_OURS: Final = "confd"
_AIOHTTP: Final = "bare aiohttp"
_THREADS: Final = "threading xmlrpc.server"
_KEPT: Final = "threading xmlrpc.server with keep-alive"
_CALL: Final = call("user_info", username="admin")


@dataclass(frozen=True)
class _Server:
    address: str
    port: int
    keep_alive: bool = True


def reading(settings: Settings) -> Report:
    """Measure with 1 and 32 connections, servers taking turns."""
    rows: list[Row] = []
    notes = [
        (
            "read: job user_info on the master, Basic login; the peers decode the same call with xmlrpc.client.loads and "
            "encode the same answer with xmlrpc.client.dumps, and know neither logins, rights nor a journal. Same TLS "
            "certificate and versions, same load generator, same number of connections, one server process each; "
            f"medians of {settings.rounds} rounds of {settings.seconds:g} s in turn."
        ),
        (
            "read: OpenConfD and aiohttp keep their connections open. The threading xmlrpc.server of the goal is as the "
            "standard library gives it: it speaks HTTP/1.0 and closes the connection after each answer, so each of its "
            "calls includes connecting and a full TLS handshake, both ends of it on this machine; that handshake, done "
            "one at a time where it accepts, is most of what its calls cost. Beside it, without a goal, the same server "
            "with its handler switched to HTTP/1.1 in a subclass: it pays no handshakes either, and tells how the "
            "handling of calls alone compares."
        ),
    ]
    with plain_cluster() as cluster:
        answer = json.dumps(cluster.try_run("user_info", username="admin"))
        shown = cluster.root(MASTER) / "etc/ssl"
        words = ("--cert", str(shown / "ssl.crt"), "--key", str(shown / "ssl.key"), "--answer", answer)
        with (
            peer("bare_aiohttp", *words) as aiohttp,
            peer("threading_xmlrpc", *words) as threads,
            peer("threading_xmlrpc", *words, "--keep-alive") as kept,
        ):
            servers = {
                _OURS: _Server(cluster.addresses[MASTER], 20003),
                _AIOHTTP: _Server("127.0.0.1", aiohttp),
                _THREADS: _Server("127.0.0.1", threads, keep_alive=False),
                _KEPT: _Server("127.0.0.1", kept),
            }
            for connections in (1, 32):
                loads = _rounds(settings, servers, connections)
                rows += _rows(loads, connections)
                notes.append(_spreads(loads, connections))
    return Report(rows, notes)


def _rounds(settings: Settings, servers: dict[str, _Server], connections: int) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for _ in range(settings.rounds):
        for name, one in servers.items():
            calls = [[_CALL]] * connections
            loads[name].append(load(one.address, calls, settings.seconds, one.port, keep_alive=one.keep_alive))
    return loads


def _rows(loads: dict[str, list[Load]], connections: int) -> list[Row]:
    rates = {name: [one.rate for one in rounds] for name, rounds in loads.items()}
    measure = f"read job, {connections} connection{'s'[: connections > 1]}"
    return [
        compared(measure, rates[_OURS], rates[_AIOHTTP], ("≥ 0.5", lambda ratio: ratio >= 0.5), peer_name=_AIOHTTP),
        compared(measure, rates[_OURS], rates[_THREADS], ("≥ 2", lambda ratio: ratio >= 2.0), peer_name=_THREADS),
        compared(measure, rates[_OURS], rates[_KEPT], peer_name=_KEPT),
    ]


def _spreads(loads: dict[str, list[Load]], connections: int) -> str:
    parts = []
    for name, rounds in loads.items():
        busy = max(one.busy for one in rounds)
        limit = " (the generator was the limit)" if busy > 0.9 else ""
        parts.append(f"{name} {spread([one.rate for one in rounds])} /s, generator {busy:.0%} of a core{limit}")
    return f"read, {connections} connection{'s'[: connections > 1]}: {'; '.join(parts)}."
