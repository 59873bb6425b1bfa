"""Version texts such as ``8.60.11``, ``8.21.0-rc1``, ``7.1.0_p2-d3`` and their order."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from confd.model.errors import InvalidParameter

# A release without a tag comes after its rc and before its patches (p).
_RANKS: Final = {"dev": 0, "alpha": 1, "beta": 2, "rc": 3, "": 4, "p": 5}
_VERSION: Final = re.compile(
    r"(?P<numbers>[0-9]{1,18}(?:[._-][0-9]{1,18})*)"
    r"(?:[._-]?(?P<tag>dev|alpha|beta|rc|p)[._-]?(?P<tagged>[0-9]{1,18})?)?"
    r"(?:-d(?P<drop>[0-9]{1,18}))?"
)


class Version(msgspec.Struct, frozen=True, order=True):
    """A comparable version: dev < alpha < beta < rc < release < p."""

    numbers: tuple[int, ...]
    rank: int
    tagged: int
    drop: int


def parse_version(text: str) -> Version:
    """Read a version; missing numbers at the end count as 0.

    :raises InvalidParameter: not a version.
    """
    match = _VERSION.fullmatch(text.strip().lower())
    if match is None:
        raise InvalidParameter(f"{text!r} is not a version: give numbers such as 8.60.11 or 8.21.0-rc1")
    numbers = [int(number) for number in re.split("[._-]", match["numbers"])]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    rank = _RANKS[match["tag"] or ""]
    return Version(tuple(numbers), rank, int(match["tagged"] or 0), int(match["drop"] or 0))


def is_newer(version: str, than: str) -> bool:
    """Tell whether one version comes after another."""
    return parse_version(version) > parse_version(than)
