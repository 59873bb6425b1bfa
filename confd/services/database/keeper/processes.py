"""Processes of a database server as the kernel shows them; standard library only, the keeper imports it.

A server's processes are recognised by their working directory, which is its data directory: this also finds
the ones whose parent is dead. A zombie counts as gone; somebody's shell in that directory does not count.
"""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

_STATE, _TERMINAL, _START_TIME = 0, 4, 19


def start_time(pid: int) -> int | None:
    """Return when a live process began (clock ticks since boot); None when it is gone or a zombie."""
    fields = _fields(pid)
    return int(fields[_START_TIME]) if fields else None


def processes_in(directory: Path) -> list[int]:
    """Return the live processes that work in a directory."""
    wanted = os.path.realpath(directory)
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    return [pid for pid in pids if _works_in(pid, wanted)]


def works_in(pid: int, directory: Path) -> bool:
    """Tell whether a process lives and works in a directory."""
    return _works_in(pid, os.path.realpath(directory))


def _works_in(pid: int, directory: str) -> bool:
    try:
        if os.readlink(f"/proc/{pid}/cwd") != directory:  # noqa: PTH115 - asked of every process of the machine
            return False
        if Path(f"/proc/{pid}").stat().st_uid != Path(directory).stat().st_uid:
            return False
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    fields = _fields(pid)
    return bool(fields) and fields[_TERMINAL] == "0"


def _fields(pid: int) -> list[str]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[_STATE] in "ZX" else fields


def postmaster_of(data: Path) -> int | None:
    """Return the live postmaster that the lock file of a data directory names."""
    lines = postmaster_file(data)
    pid = int(lines[0]) if lines and lines[0].isdigit() else 0
    return pid if pid and works_in(pid, data) else None


def postmaster_file(data: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``; the eighth says ready, standby, starting or stopping."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def postmaster_status(data: Path, postmaster: int) -> str:
    """Return what a postmaster last wrote about itself; an earlier one's word does not count."""
    lines = postmaster_file(data)
    return lines[7].strip() if len(lines) > 7 and lines[0] == str(postmaster) else ""


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until a process has ended, whoever its parent is."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def send_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to a process and all of its group; one that is gone already is fine."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return


def clear(data: Path, patience: float = 10.0) -> None:
    """Stop every process of a server that nobody looks after: first in order, then by force."""
    if postmaster := postmaster_of(data):
        send(postmaster, signal.SIGINT)
        wait_gone(postmaster, patience)
    for pid in processes_in(data):
        send(pid, signal.SIGKILL)
        wait_gone(pid, patience)
