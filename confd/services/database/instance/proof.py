"""Proof that a node which does not answer runs nothing: where nodes share a machine, its processes can be seen.

It holds only for who sees the same processes: same boot, same process namespace, same user (another user's working
directories are hidden). Everywhere else nothing is proven, and the node counts as alive.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from confd.services.database.keeper.processes import processes_in, start_time
from confd.services.database.observed import Place

_PROGRAMS: Final = frozenset({"confd", "postgres", "confd.cli.confd", "confd.services.database.keeper.keeper"})


@functools.cache
def machine() -> str:
    """Name what this process sees: equal for two processes only if each sees the processes that the other sees."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.getuid()}"


def gone(place: Place) -> bool:
    """Tell whether daemon, keepers and servers of a node are seen to be dead.

    The daemon counts too: one that was cut off might be about to carry out what it was told before.
    """
    if place.machine != machine():
        return False
    return not (processes_in(Path(place.data)) or any(_programs_below(place.root)) or _daemon_runs(place.root))


def _daemon_runs(root: str) -> bool:
    """Tell whether a daemon holds its lock on a root, by whatever name it was told of it."""
    # Not by trying to lock: a daemon that starts at this moment would not get it.
    try:
        lock = Path(root, "spool/confd.lock").stat()
        locks = Path("/proc/locks").read_text().splitlines()
    except FileNotFoundError:
        return False
    held = (line.split() for line in locks if " FLOCK " in line)
    return any(words[-3].endswith(f":{lock.st_ino}") and _has_open(words[-4], lock) for words in held)


def _has_open(pid: str, file: os.stat_result) -> bool:
    """Tell whether a process has a file open: another file system may have one of the same number.

    One that cannot be looked into counts as having it open.
    """
    try:
        opened = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return True
    for descriptor in opened:
        with suppress(OSError):
            if os.path.samestat(Path(descriptor.path).stat(), file):
                return True
    return False


def _programs_below(root: str) -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and _is_below(entry.name, root) and start_time(int(entry.name)) is not None:
            yield int(entry.name)


def _is_below(pid: str, root: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    ours = any(word.rpartition("/")[2] in _PROGRAMS for word in words)
    return ours and any(word in (root, f"--root={root}") or f"{root}/" in word for word in words)
