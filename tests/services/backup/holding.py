"""Backups that do not go on until a test has seen enough."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.services.database.waiting import until


@contextlib.contextmanager
def held(base: Path) -> Iterator[None]:
    """Keep every backup of the primaries below a directory at its beginning: it waits for a checkpoint until the end.

    Their servers take and answer statements meanwhile.
    """
    # A server that takes connections may not have given its processes their names yet.
    until(lambda: bool(_checkpointers(base)))
    stopped = _checkpointers(base)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _checkpointers(base: Path) -> list[int]:
    return [process.pid for process in psutil.process_iter() if _is_checkpointer(process, base)]


def _is_checkpointer(process: psutil.Process, base: Path) -> bool:
    try:
        words = process.cmdline()
        return bool(words) and "checkpointer" in words[0] and Path(process.cwd()).is_relative_to(base)
    except psutil.Error:
        return False
