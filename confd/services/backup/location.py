"""Where the files of a backup are on its volume, and the id that is made of it. Pure.

``<database>/id_<bid>/level_<level>/node_<part>/`` holds ``backup_<stamp>`` (the data), ``metadata_<stamp>`` (what later
incremental backups build on) and ``status_<stamp>`` (written last: without it there is no backup). A status that was
replaced is called ``status_<stamp>.<n>``; the highest n counts. The id of a backup names its data file:
``<volume id> <database>/id_<bid>/.../backup_<stamp> <database>``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from confd.model.errors import InvalidParameter

_DIRECTORY: Final = r"(?P<database>[^/]+)/id_(?P<bid>[0-9]{1,9})/level_(?P<level>[0-9])"
_PLACE: Final = rf"{_DIRECTORY}/node_(?P<part>[0-9]{{1,5}})"
_ID: Final = re.compile(rf"(?P<volume>[0-9]{{1,9}}) (?P<path>{_PLACE}/backup_(?P<stamp>[0-9]{{12}})) (?P<name>[^/]+)")
_PATH: Final = re.compile(rf"{_PLACE}/backup_(?P<stamp>[0-9]{{12}})")
_FILE: Final = re.compile(
    rf"{_PLACE}/(?P<kind>backup|metadata|status)_(?P<stamp>[0-9]{{12}})(?:\.(?P<version>[0-9]{{1,9}}))?"
)
_SET: Final = re.compile(rf"(?:(?P<volume>[0-9]{{1,9}}) )?{_DIRECTORY}")
_STAMP: Final = "%Y%m%d%H%M"

FORM: Final = "'<volume id> <db>/id_<n>/level_<l>/node_<k>/backup_<YYYYMMDDhhmm> <db>' as db_backup_list shows it"


class Location(msgspec.Struct, frozen=True, order=True):
    """One backup's place on its volume; ``stamp`` is the UTC minute in which it began."""

    database: str
    bid: int
    level: int
    part: int
    stamp: str

    @property
    def set(self) -> str:
        """The prefix that names the backup where its expiry is changed: ``DB1/id_11/level_0``."""
        return f"{self.database}/id_{self.bid}/level_{self.level}"

    @property
    def directory(self) -> str:
        """The directory of all its files, with a slash at the end."""
        return f"{self.set}/node_{self.part}/"

    @property
    def path(self) -> str:
        """The data file, a compressed tar."""
        return f"{self.directory}backup_{self.stamp}"

    @property
    def metadata(self) -> str:
        """The manifest of the data."""
        return f"{self.directory}metadata_{self.stamp}"

    def status(self, version: int = 0) -> str:
        """Return the file that says that the backup is whole; a later version replaces earlier ones."""
        return f"{self.directory}status_{self.stamp}{f'.{version}' if version else ''}"

    def id(self, volume: int) -> str:
        """Return the id of the backup on a volume."""
        return f"{volume} {self.path} {self.database}"


class Found(msgspec.Struct, frozen=True):
    """What the name of a file says: whose it is, ``backup``, ``metadata`` or ``status``, and which version."""

    location: Location
    kind: str
    version: int


def stamp_of(time: float) -> str:
    """Return the minute of a time (UTC seconds) as names carry it."""
    return datetime.fromtimestamp(time, UTC).strftime(_STAMP)


def time_of(stamp: str) -> float | None:
    """Return the time (UTC seconds) of a stamp, None when it is no time."""
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def parse_id(text: str) -> tuple[int, Location]:
    """Read the id of a backup: its volume and its place there.

    :raises InvalidParameter: not an id.
    """
    match = _ID.fullmatch(text.strip())
    if match is None or match["name"] != match["database"]:
        raise InvalidParameter(f"{text!r} is not the id of a backup: give {FORM}")
    return int(match["volume"]), _location(match)


def parse_path(text: str) -> Location:
    """Read the path of a backup's data file.

    :raises InvalidParameter: not such a path.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        raise InvalidParameter(
            f"{text!r} is not the path of a backup: give <db>/id_<n>/level_<l>/node_<k>/backup_<time>"
        )
    return _location(match)


def parse_set(text: str) -> tuple[int | None, str, int, int]:
    """Read ``[<volume id> ]<db>/id_<n>/level_<l>``: volume id (None when left out), database, bid and level.

    :raises InvalidParameter: not of this form.
    """
    match = _SET.fullmatch(text.strip().rstrip("/"))
    if match is None:
        raise InvalidParameter(f"{text!r} names no backup: give <db>/id_<n>/level_<l> as db_backup_list shows it")
    volume = match["volume"]
    return None if volume is None else int(volume), match["database"], int(match["bid"]), int(match["level"])


def find(path: str) -> Found | None:
    """Say what a file of a volume is, None when it belongs to no backup."""
    match = _FILE.fullmatch(path)
    if match is None or (match["version"] and match["kind"] != "status"):
        return None
    return Found(_location(match), match["kind"], int(match["version"] or 0))


def _location(match: re.Match[str]) -> Location:
    return Location(match["database"], int(match["bid"]), int(match["level"]), int(match["part"]), match["stamp"])
