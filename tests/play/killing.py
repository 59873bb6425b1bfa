"""A step of c4 that is cut off by a kill, at a moment of its choice."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir")


def change(number: int) -> Callable[[Path], bool]:
    """Return what chooses one of all changes, from 0; locks are none."""
    count = itertools.count()
    return lambda path: path.name != "lock" and next(count) == number


def killed_at(step: Callable[[], Any], here: Callable[[Path], bool]) -> bool:
    """Run a step in a process of its own, killed just before it changes a path in the file system where ``here`` says so.

    Tell whether it was killed; when not, it has ended well.
    """

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in _CHANGES) and isinstance(arguments[0], str | Path) and here(Path(arguments[0])):
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        sys.addaudithook(look)
        status = 1
        try:
            step()
            status = 0
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL)
    return ended != 0
