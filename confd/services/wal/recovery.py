"""Brings data made from a backup to a point in time, with archived WAL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from backports import zstd

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.model.errors import ConfDError, InsufficientSpace, InvalidParameter, NodeError, NodeOffline, StorageNotFound
from confd.model.sizes import format_size
from confd.services.backup.catalogue import read_file
from confd.services.backup.location import Location
from confd.services.backup.order import RestoreOrder, WalOrder
from confd.services.backup.taking.taking import Ticker
from confd.services.backup.target import BackupTarget
from confd.services.backup.targets import open_target
from confd.services.database.engine.data import write_owned
from confd.services.database.engine.layout import make_directory
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.wal.pruning import end_of
from confd.services.wal.segment import SIZE, SUFFIX, directory, number_at, parse
from confd.services.wal.sources import sources

FORM: Final = "YYYY-MM-DD hh:mm:ss, in UTC"

_TIME: Final = "%Y-%m-%d %H:%M:%S"
_COMMIT: Final = re.compile(r"desc: COMMIT (?:PREPARED \S+ )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")
_LONGEST: Final = 1 << 31
_WAL: Final = "wal"


class Reach(msgspec.Struct, frozen=True):
    """How far archived WAL leads on from a backup: the segment to begin with, the time of the last commit.

    ``volumes`` are those that have some of it. ``until`` is in UTC seconds, None when no WAL follows the backup.
    ``unread``: what kept other volumes from being looked at.
    """

    volumes: tuple[str, ...]
    first: int
    until: float | None = None
    unread: tuple[str, ...] = ()


def read_time(text: str) -> float:
    """Return a time in UTC seconds.

    :raises InvalidParameter: not of the form ``FORM``.
    """
    try:
        return datetime.strptime(text.strip(), _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidParameter(f"{text!r} is not a time: give {FORM}, such as 2026-01-31 23:59:00") from None


def show_time(seconds: float) -> str:
    """Return a time as it is given, its second begun."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime(_TIME)


def check_time(text: str) -> None:
    """Check the form of a time."""
    read_time(text)


def check_reached(wanted: float, ended: float, reach: Reach) -> None:
    """Refuse a point in time that the backup and the WAL behind it do not lead to.

    :param ended: when the backup ended, UTC seconds.
    :raises InvalidParameter: says which points in time are possible.
    :raises NodeOffline: it may be possible with what cannot be read now.
    """
    if reach.until is not None and ended <= wanted < reach.until:
        return
    if reach.unread and wanted >= ended:
        raise NodeOffline(
            f"restore_time: {_range(ended, reach)}; more WAL may be on volumes that cannot be read now: "
            f"{'; '.join(reach.unread)}"
        )
    raise InvalidParameter(f"restore_time: {_range(ended, reach)}")


def _range(ended: float, reach: Reach) -> str:
    if reach.until is None:
        return "no archived WAL follows this backup, which can only be restored as it is"
    return (
        f"this backup and the WAL archived on {', '.join(reach.volumes)} lead to points in time from "
        f"{show_time(ended + 1)} to {show_time(reach.until)} UTC"
    )


@operation("wal.reach")
def reach(
    host: Host, database: str, source: str, generation: str, volume: str, location: Location, candidates: list[str]
) -> Reach:
    """Find how far archived WAL leads on from a backup.

    :param source: the database that was saved, in its ``generation``.
    :param volume: where the backup is.
    :param candidates: volumes where the WAL may be; of several that have a segment the first one counts.
    """
    first = number_at(end_of(read_file(open_target(host, volume), location.metadata, _LONGEST)))
    prefix, unread = directory(source, generation), list[str]()
    found: dict[str, list[str]] = {}
    for candidate in candidates:
        try:
            found[candidate] = _names(open_target(host, candidate), prefix)
        except ConfDError as error:
            unread.append(f"{candidate} ({error.message})")
    given = sources(found, first)
    volumes = tuple(one for one in found if one in given.values())
    tool = Server(host, database).choice().installation.tool("pg_waldump")
    return Reach(volumes, first, _last_commit(host, prefix, given, tool), tuple(unread))


def recover(server: Server, workshop: Workshop, order: RestoreOrder, wal: WalOrder, ticker: Ticker) -> None:
    """Replay archived WAL on unfinished data up to a point in time; it is on a timeline of its own then.

    :raises NodeError: the WAL ends before that time.
    """
    place = workshop.place.chain / _WAL
    for made in (workshop.place.chain, place):
        make_directory(made, workshop.account)
    _fetch(server.host, wal, place, workshop, ticker)
    data = workshop.place.unfinished
    write_owned(data / "recovery.signal", "", workshop.account)
    settings = {
        # Without connections there is nobody to show a standby to.
        "hot_standby": "off",
        "archive_mode": "off",
        "fsync": "off",
        "wal_keep_size": "1TB",
        "restore_command": f"cp ../{workshop.place.chain.name}/{_WAL}/%f %p",
        "recovery_target_time": f"{wal.until}+00",
        "recovery_target_action": "promote",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    tool = server.choice().installation.tool("postgres")
    workshop.run([tool, "--single", "-D", str(data), *words, "postgres"], "\n")
    if (data / "recovery.signal").exists():
        raise NodeError(f"the WAL of {order.database} ends before {wal.until} UTC")


def _names(target: BackupTarget, prefix: str) -> list[str]:
    return [file.path.removeprefix(prefix).removesuffix(SUFFIX) for file in target.files(prefix)]


def _last_commit(host: Host, prefix: str, given: Mapping[str, str], tool: str) -> float | None:
    """Return the time of the last commit; timelines that ended are followed by later ones.

    :param given: the volume of each file, in their order.
    """
    with TemporaryDirectory(prefix="confd-wal-") as made:
        for name in (one for one in reversed(list(given)) if parse(one)):
            path = Path(made) / name
            path.write_bytes(_content(open_target(host, given[name]), f"{prefix}{name}{SUFFIX}"))
            if (found := commit_time(tool, path)) is not None:
                return found
            path.unlink()
    return None


def commit_time(tool: str, path: Path) -> float | None:
    """Return the time of the last commit in a segment, UTC seconds."""
    environment = {"LC_ALL": "C.UTF-8", "PATH": os.defpath, "TZ": "UTC"}
    # It ends with an error where the log ends within the segment; what it printed before counts.
    shown = subprocess.run(
        [tool, "--rmgr=Transaction", str(path)], check=False, capture_output=True, text=True, env=environment
    )
    times = _COMMIT.findall(shown.stdout)
    return max((_seconds(time) for time in times), default=None)


def _seconds(text: str) -> float:
    return datetime.strptime(text, f"{_TIME}.%f").replace(tzinfo=UTC).timestamp()


def _content(target: BackupTarget, path: str) -> bytes:
    return zstd.decompress(read_file(target, path, 2 * SIZE))


def _fetch(host: Host, wal: WalOrder, place: Path, workshop: Workshop, ticker: Ticker) -> None:
    targets = {volume: open_target(host, volume) for volume in wal.volumes}
    given = sources({volume: _names(target, wal.prefix) for volume, target in targets.items()}, wal.first)
    free, needed = shutil.disk_usage(place).free, len(given) * SIZE
    if free < needed:
        raise InsufficientSpace(
            f"the archived WAL needs {format_size(needed)} beside the data, {format_size(free)} are free; free some, "
            "or restore a later backup"
        )
    for name, volume in given.items():
        ticker.check()
        # A segment that goes meanwhile lies before a later backup, and is missed by the replay if it was needed.
        with suppress(StorageNotFound):
            _write(place / name, _content(targets[volume], f"{wal.prefix}{name}{SUFFIX}"), workshop)


def _write(path: Path, content: bytes, workshop: Workshop) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        if os.getuid() == 0:
            os.fchown(file.fileno(), workshop.account.uid, workshop.account.gid)
