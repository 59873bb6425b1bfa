"""Until when a server may take writes, where its node's lease bounds that; standard library only.

The clock is CLOCK_BOOTTIME, and so is the timer's: a machine that slept through the deadline stops the server first
of all when it wakes up.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress

_CLOCK, _FLAGS, _ABSOLUTE = time.CLOCK_BOOTTIME, os.O_NONBLOCK | os.O_CLOEXEC, 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Moment(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Alarm(ctypes.Structure):
    _fields_ = (("interval", _Moment), ("at", _Moment))


def boottime() -> float:
    """Return seconds since the machine was booted, sleep included."""
    return time.clock_gettime(_CLOCK)


class Deadline:
    """A deadline that only moves on, except by order; ``timer`` becomes readable when it passes."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self.name = ""
        self.until: float | None = None
        self._clock = clock
        self.timer = _libc.timerfd_create(_CLOCK, _FLAGS)
        if self.timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    @property
    def passed(self) -> bool:
        """Whether there is a deadline and it has passed."""
        return self.until is not None and self._clock() >= self.until

    def hold(self, name: str, until: float, shorten: bool = False) -> None:
        """Take the deadline of a hold of the node's lease; an earlier one than before only if told to."""
        later = until if self.until is None or shorten else max(self.until, until)
        self.name, self.until = name, later
        self._set(later)

    def release(self) -> None:
        """Have no deadline any more."""
        self.name, self.until = "", None
        self._set(0)

    def allows(self, name: str) -> bool:
        """Tell whether an order to take writes that was given under a hold may be carried out."""
        return name == self.name and not self.passed

    def hush(self) -> None:
        """Take note that the timer was heard."""
        with suppress(BlockingIOError):
            os.read(self.timer, 8)

    def _set(self, until: float) -> None:
        alarm = _Alarm()
        alarm.at = _Moment(int(until), int(until % 1 * 1e9))
        if _libc.timerfd_settime(self.timer, _ABSOLUTE, ctypes.byref(alarm), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
