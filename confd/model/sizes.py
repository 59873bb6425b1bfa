"""Sizes in bytes and their text: ``10 GiB``, ``6.7109 MiB``, ``0 B``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NewType

from confd.model.errors import InvalidParameter

Bytes = NewType("Bytes", int)

FORMS: Final = "a number with a unit such as 10 GiB, 512 MiB or 2.5 TB (units B, K to Y, KiB to YiB)"
_SIZE: Final = re.compile(r"\s*+([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*+(?:([KMGTPEZY])(I)?)?(B)?\s*+", re.IGNORECASE)
_PREFIXES: Final = "KMGTPEZY"
_PLACES: Final = 10_000


def parse_size(text: str | int, *, require_unit: bool = False) -> Bytes:
    """Read a size; units with ``i`` are powers of 1024, the others powers of 1000.

    :param require_unit: Refuse a bare number, which users mean as MiB as often as bytes.
    :raises InvalidParameter: not a size.
    """
    match = _SIZE.fullmatch(str(text)) if not isinstance(text, bool) else None
    if match is None:
        raise InvalidParameter(f"{text!r} is not a size: give {FORMS}")
    number, prefix, binary, byte = match.groups()
    if require_unit and not (prefix or byte):
        raise InvalidParameter(f"size {text!r} has no unit: give {FORMS}")
    exponent = _PREFIXES.index(prefix.upper()) + 1 if prefix else 0
    return Bytes(int(Fraction(number) * (1024 if binary else 1000) ** exponent))


def format_size(size: int) -> str:
    """Write a size for people: the largest fitting unit, at most 4 decimals, zeros cut."""
    sign, rest = ("-", -size) if size < 0 else ("", size)
    exponent = 0
    while exponent < len(_PREFIXES) and _rounded(rest, exponent) >= 1024 * _PLACES:
        exponent += 1
    return f"{sign}{_decimal(_rounded(rest, exponent))} {_unit(exponent)}"


def format_exact(size: int) -> str:
    """Write a size so that ``parse_size`` gives exactly the same number of bytes again."""
    shown = format_size(size)
    exponent = len(_PREFIXES)
    while parse_size(shown) != size:
        exponent -= 1
        shown = f"{_decimal(_rounded(size, exponent))} {_unit(exponent)}"
    return shown


def _unit(exponent: int) -> str:
    return f"{_PREFIXES[exponent - 1]}iB" if exponent else "B"


def _rounded(size: int, exponent: int) -> int:
    """Return ten-thousandths of the unit, rounded to the nearest."""
    unit: int = 1024**exponent
    return (size * _PLACES + unit // 2) // unit


def _decimal(places: int) -> str:
    whole, part = divmod(places, _PLACES)
    return f"{whole}.{part:04d}".rstrip("0").rstrip(".")
