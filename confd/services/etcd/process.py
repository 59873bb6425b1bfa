"""The process of a node's etcd server, for whoever has only the node's files: found, stopped, its last words."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from confd.model.errors import NodeError
from confd.services.database.keeper.processes import processes_in, send, wait_gone
from confd.services.etcd.plan import DATA, LOG

_STOP_SECONDS: Final = 10.0
_LAST_LINES: Final = 3


def server_of(root: Path) -> int | None:
    """Return the process id of a node's etcd server, None when it does not run."""
    directory = root / DATA
    return next(iter(processes_in(directory)), None) if directory.exists() else None


def stop_server(root: Path, patience: float = _STOP_SECONDS) -> None:
    """Stop a node's etcd server, by force when it takes too long."""
    if (pid := server_of(root)) is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        send(pid, number)
        if wait_gone(pid, patience):
            return
    raise NodeError(f"the etcd server of {root}, process {pid}, does not end, not even when killed")


def last_words(root: Path) -> str:
    """Return the last lines that a node's etcd server wrote."""
    path = root / LOG
    return " ".join(path.read_text(errors="replace").splitlines()[-_LAST_LINES:]) if path.exists() else ""
