"""How a commit reaches many nodes: simulated ones in one process, beside the least that a fan-out can cost."""

from __future__ import annotations

import gc
import logging
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import uvloop

from bench.peers.bare_fanout import BareFanout, bare_fanout
from bench.settings import Settings
from bench.table import Report, Row, spread
from confd.cluster.certificates import new_authority, new_member
from confd.cluster.identity import NodeFiles, write_private
from confd.exaconf import Group, Section
from tests.nodes.conftest import free_port
from tests.nodes.crowd import Crowd, crowd

_COUNTS: Final = (3, 100, 1_000)
_LIMIT: Final = 3.0
_BALLAST: Final = 5_000
#: Bytes per node and commit that lengths of numbers may differ by.
_SAME: Final = 8.0


@dataclass
class _Found:
    """Seconds of all rounds and bytes per node at one number of nodes."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    size: float = 0.0


def fanout(settings: Settings) -> Report:
    """Measure commits at growing numbers of nodes, and once with a large configuration."""
    commits = settings.rounds * 3
    with tempfile.TemporaryDirectory() as place, _quiet():
        files = _files(Path(place))
        found = uvloop.run(_grow(files, commits))
        small = uvloop.run(_bytes(files, ()))
        ballast = [Group(name=f"bench{number}", id=20_000 + number) for number in range(_BALLAST)]
        large = uvloop.run(_bytes(files, ballast))
    rows = [_row(count, one) for count, one in found.items()]
    rows.append(
        Row(
            f"bytes sent per node and commit, EXAConf of 3 and of {_BALLAST + 3:,} sections",
            f"{large:.0f} B", f"{small:.0f} B small EXAConf", f"{large / small:.2f}", "the same", abs(large - small) <= _SAME,
        )
    )  # fmt: skip
    note = (
        f"fan-out: {commits} commits at each number of nodes, all in one process: leader, followers, links and mutual TLS of "
        "production on loopback addresses, journals in memory, no files. The peer is a bare asyncio fan-out over "
        "TLS streams in the same process and loop (uvloop), one commit and one bare message of the same size in turn; "
        "it waits for one answer from each. Medians; spread of ours: "
        + ", ".join(
            f"{count:,} nodes {spread([1e3 * one for one in it.ours], 1, ' ms')}" for count, it in found.items()
        )
    )
    return Report(rows, [note])


async def _grow(files: NodeFiles, commits: int) -> dict[int, _Found]:
    found = {}
    ours = crowd(files, _net(0), free_port())
    bare = bare_fanout(files.server_tls(), files.client_tls(), _net(1), free_port())
    async with ours as many, bare as least:
        for count in _COUNTS:
            await many.grow(count - 1)
            await least.grow(count - 1)
            # As the daemon does: what is there for good is not looked at again by the collector.
            gc.collect()
            gc.freeze()
            found[count] = await _measure(many, least, count - 1, commits)
    return found


async def _measure(many: Crowd, least: BareFanout, nodes: int, commits: int) -> _Found:
    found = _Found(size=await _size(many, nodes))
    message = bytes(round(found.size))
    for _ in range(commits):
        found.ours.append(await many.commit())
        found.bare.append(await least.send(message))
    return found


async def _bytes(files: NodeFiles, ballast: Sequence[Section]) -> float:
    async with crowd(files, _net(2), free_port(), ballast) as many:
        await many.grow(10)
        return await _size(many, 10)


async def _size(many: Crowd, nodes: int) -> float:
    """Return the bytes that a commit sends to each node, TLS included."""
    commits = 10
    await many.commit()
    before = sum(many.sent())
    for _ in range(commits):
        await many.commit()
    return (sum(many.sent()) - before) / nodes / commits


def _row(count: int, found: _Found) -> Row:
    ours, bare = statistics.median(found.ours), statistics.median(found.bare)
    goal = (f"≤ {_LIMIT:g}", ours / bare <= _LIMIT) if count == max(_COUNTS) else ("", None)
    name = f"commit on {count:,} nodes (simulated), {found.size:.0f} B to each"
    return Row(name, f"{1e3 * ours:.1f} ms", f"{1e3 * bare:.1f} ms bare asyncio fan-out", f"{ours / bare:.1f}", *goal)


def _files(place: Path) -> NodeFiles:
    files, authority = NodeFiles(place), new_authority("bench")
    member = new_member(authority, "bench", ["127.0.0.1"])
    write_private(files.ca, authority.certificate_pem)
    write_private(files.certificate, member.certificate_pem)
    write_private(files.key, member.key_pem)
    return files


def _net(number: int) -> str:
    return f"127.{64 + (os.getpid() * 3 + number) % 180}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Have nothing logged for a block: a thousand nodes say much."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.configure(**before)
