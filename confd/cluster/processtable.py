"""The process table of this machine."""

from __future__ import annotations

from pathlib import Path


def processes_of_machine() -> list[int]:
    """Return all process ids, zombies included."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> list[str]:
    """Return the words that a process was started with; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
