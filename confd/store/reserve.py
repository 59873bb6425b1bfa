"""Free disk space: a reserve that lets running jobs end, and a mark below which none begin."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confd.model.errors import LimitExceeded
from confd.model.sizes import format_size

RESERVE_BYTES = 4 * 1024 * 1024
LOW_WATER_BYTES = 16 * 1024 * 1024
_TRUSTED_SECONDS: Final = 0.5


class Reserve:
    """A preallocated file that is given up when the disk is full and made again when there is room."""

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path, self._size = path, size
        self.make()

    def make(self) -> None:
        """Allocate the reserve unless it is there; without room there is none."""
        if self._path.exists() and self._path.stat().st_size == self._size:
            return
        try:
            self._allocate()
        except OSError:
            self._path.unlink(missing_ok=True)

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        finally:
            os.close(descriptor)

    def spend(self) -> bool:
        """Give the reserve back to the file system; False when it was spent before."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False


class FreeSpace:
    """How much of a disk is free; asked once in a while, as every change wants to know.

    :param clock: seconds, only ever growing.
    """

    def __init__(
        self, directory: Path, low_water: int = LOW_WATER_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._low_water, self._clock = directory, low_water, clock
        self._enough_until = float("-inf")

    def check(self) -> None:
        """Refuse when too little is free to begin a job.

        :raises LimitExceeded: says how much is free and how much is needed.
        """
        now = self._clock()
        if now < self._enough_until:
            return
        stat = os.statvfs(self._directory)
        free = stat.f_bavail * stat.f_frsize
        if free < self._low_water:
            raise LimitExceeded(
                f"only {format_size(free)} are free on the disk of {self._directory}, {format_size(self._low_water)} "
                "are needed; free some space, then submit the job again"
            )
        self._enough_until = now + _TRUSTED_SECONDS
