"""Durations in seconds and their text: ``1w 3d``, ``1h 30m``, ``600``."""

from __future__ import annotations

import re
from typing import Final

from confd.model.errors import InvalidParameter

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY
_MONTH: Final = 30 * _DAY

FORMS: Final = (
    "seconds, or <n>m <n>w <n>d <n>h <n>m <n>s in this order, such as 1w 3d or 1h 30m "
    "(m in front or alone is months of 30 days, after h it is minutes; 0 is never)"
)
_N: Final = r"([0-9]{1,12})\s*+"
_DURATION: Final = re.compile(
    # A leading m is months only if w, d, h or nothing follows; "5m 30s" stays minutes.
    rf"\s*+(?:{_N}m(?=\s*+(?:[0-9]+\s*+[wdh]|\Z))\s*+)?"
    rf"(?:{_N}w\s*+)?(?:{_N}d\s*+)?(?:{_N}h\s*+)?(?:{_N}m\s*+)?(?:{_N}s?\s*+)?"
)
_WEIGHTS: Final = (_MONTH, _WEEK, _DAY, _HOUR, _MINUTE, 1)


def parse_duration(text: str | int) -> int:
    """Read a duration as seconds.

    :raises InvalidParameter: not a duration.
    """
    match = None if isinstance(text, bool) else _DURATION.fullmatch(str(text))
    if match is None or match.lastindex is None:
        raise InvalidParameter(f"{text!r} is not a duration: give {FORMS}")
    return sum(int(n) * weight for n, weight in zip(match.groups(default="0"), _WEIGHTS, strict=True))


def format_duration(seconds: int) -> str:
    """Write seconds so that ``parse_duration`` gives them again; months are written as weeks and days."""
    rest, words = seconds, []
    for letter, weight in (("w", _WEEK), ("d", _DAY), ("h", _HOUR), ("m", _MINUTE), ("s", 1)):
        count, rest = divmod(rest, weight)
        if count:
            words.append(f"{count}{letter}")
    if len(words) == 1 and words[0].endswith("m"):
        # "5m" alone would be read as months.
        words.append("0s")
    return " ".join(words) or "0"
