"""Checksums: a CRC for every stripe of a part, kept as a table beside it. Pure."""

from __future__ import annotations

import sys
import zlib
from array import array

Data = bytes | bytearray | memoryview


class Checksums:
    """Collects the table of a part while it is written."""

    def __init__(self, stripe: int) -> None:
        self._stripe = stripe
        self._done = array("I")
        self._crc, self._filled = 0, 0

    def add(self, data: Data) -> None:
        """Take the next bytes of the part."""
        rest = memoryview(data)
        while rest:
            piece = rest[: self._stripe - self._filled]
            self._crc = zlib.crc32(piece, self._crc)
            self._filled += len(piece)
            rest = rest[len(piece) :]
            if self._filled == self._stripe:
                self._end_stripe()

    def table(self) -> bytes:
        """Return the table once all is added: four bytes a stripe, lowest first."""
        if self._filled:
            self._end_stripe()
        return _swapped(self._done).tobytes()

    def _end_stripe(self) -> None:
        self._done.append(self._crc)
        self._crc, self._filled = 0, 0


class Table:
    """The checksums of a part that is read."""

    def __init__(self, raw: bytes, stripe: int) -> None:
        known = array("I")
        known.frombytes(raw)
        self._crcs, self._stripe = _swapped(known), stripe

    def bad(self, offset: int, data: Data, wanted: int) -> int | None:
        """Return where the first bad stripe begins, None when all are what was written.

        :param offset: where the data begins, a multiple of the stripe.
        :param wanted: bytes that there should be: whole stripes, or up to the end of the part.
        """
        view = memoryview(data)
        first = offset // self._stripe
        for number, at in enumerate(range(0, wanted, self._stripe)):
            piece = view[at : min(at + self._stripe, wanted)]
            if len(piece) < min(self._stripe, wanted - at) or zlib.crc32(piece) != self._crcs[first + number]:
                return offset + at
        return None


def table_of(raw: bytes, check: int, stripe: int, length: int) -> Table | None:
    """Return a table as it was read; None when it is not the one that was written."""
    if len(raw) != 4 * -(-length // stripe) or zlib.crc32(raw) != check:
        return None
    return Table(raw, stripe)


def _swapped(values: array[int]) -> array[int]:
    if sys.byteorder == "big":
        values = array("I", values)
        values.byteswap()
    return values
