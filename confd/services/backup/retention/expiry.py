"""How long backups live: lifetimes such as ``1w 3d``, and dates at which one ends. Pure.

A moment is in UTC seconds; None stands for never.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from confd.model.durations import parse_duration
from confd.model.errors import InvalidParameter

_LONGEST: Final = 100 * 366 * 86400
_LAST: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_DATE: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?)?", re.ASCII)
_SECONDS: Final = re.compile(r"\d{1,12}", re.ASCII)


def check_lifetime(text: str | int) -> None:
    """Check how long a backup is to live; nothing, or 0, is for ever.

    :raises InvalidParameter: not a duration, or longer than a hundred years.
    """
    lifetime(text)


def lifetime(text: str | int | None) -> int:
    """Return a lifetime in seconds; 0 is for ever.

    :raises InvalidParameter: not a duration, or longer than a hundred years.
    """
    if text is None or not str(text).strip():
        return 0
    seconds = parse_duration(text)
    if seconds > _LONGEST:
        raise InvalidParameter(f"{text!r} is more than a hundred years; leave it out, and backups never expire")
    return seconds


def expires(text: str | int | None, begun: float) -> float | None:
    """Return when a backup begun at a moment expires."""
    seconds = lifetime(text)
    return begun + seconds if seconds else None


def check_date(text: str) -> None:
    """Check the form of a date of expiry."""
    read_date(text)


def read_date(text: str) -> float | None:
    """Return a date of expiry, which is meant in UTC as lists show it; blank is never.

    Leading zeros, seconds and time of day may be left out.

    :raises InvalidParameter: there is no such date.
    """
    text = text.strip()
    if not text:
        return None
    seconds = float(text) if _SECONDS.fullmatch(text) else _seconds(text)
    if seconds is None or seconds > _LAST:
        raise InvalidParameter(
            f"{text!r} is no date of expiry: give YYYY-MM-DD hh:mm:ss (UTC), seconds since 1970, or nothing for never"
        )
    return seconds


def _seconds(text: str) -> float | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None
