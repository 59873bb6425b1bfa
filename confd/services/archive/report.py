"""What every node reports of its shelves with each heartbeat: how much is used, and whether something changed."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cluster.host import Cluster, Host, reporter
from confd.model.errors import ConfDError
from confd.services.archive.files import ShelfFiles
from confd.services.archive.layout import Layout, is_archive, layout_of
from confd.services.archive.opening import local_files

_SERVICE: Final = "archive"


class ShelfReport(msgspec.Struct, frozen=True):
    """One shelf: ``print`` differs whenever files came or went, ``used`` are bytes by share."""

    print: int
    used: dict[int, int]


class _Shelves:
    """Remembers what shelves used, so that they are counted only when something changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, ShelfReport] = {}

    def report(self, host: Host, layout: Layout) -> ShelfReport:
        files = local_files(host.node, host.root, layout)
        seen = fingerprint(files)
        known = self._known.get(files.first)
        # Copies that are being written grow without any trace in their directory.
        if known is not None and known.print == seen and not _writing(files):
            return known
        made = ShelfReport(seen, files.usage()[0])
        with self._lock:
            self._known[files.first] = made
        return made


_SHELVES = _Shelves()


@reporter(_SERVICE)
def report(host: Host) -> Any:
    """Report this node's shelves by volume id."""
    conf, reported = host.conf(), {}
    for volume in conf.volumes.values():
        if is_archive(volume) and host.node in volume.nodes:
            try:
                layout = layout_of(conf, volume.name)
                if host.node in layout.nodes:
                    reported[str(layout.id)] = msgspec.to_builtins(_SHELVES.report(host, layout), str_keys=True)
            except (ConfDError, OSError):
                # Without its segment a shelf reports nothing; the device's own report says what is wrong.
                continue
    return reported


def report_of(cluster: Cluster, layout: Layout, node: int) -> ShelfReport | None:
    """Return what a node last reported of its shelf of a volume."""
    reported = (cluster.status(node, _SERVICE) or {}).get(str(layout.id))
    return None if reported is None else msgspec.convert(reported, ShelfReport, str_keys=True)


def total_used(layout: Layout, reports: Mapping[int, ShelfReport]) -> int | None:
    """Return the bytes of all files, one copy counted; None while a share has nobody to speak for it.

    A copy that is missing or not removed yet on one node is seen on another: the larger number counts.
    """
    used = [
        [reports[node].used.get(number, 0) for node in share.nodes if node in reports]
        for number, share in enumerate(layout.shares)
    ]
    return sum(map(max, used)) if all(used) else None


def fingerprint(files: ShelfFiles) -> int:
    """Return a number that changes when a file, copy or tombstone comes or goes."""
    shares = [place.directory / "parts" / str(share) for place in files.places for share in files.shares]
    return zlib.crc32(repr([_changed(path) for path in (files.indexes, files.gone, files.uploads, *shares)]).encode())


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _writing(files: ShelfFiles) -> bool:
    return files.uploads.is_dir() and any(files.uploads.iterdir())
