"""Orders to the daemon that runs on a node: given by a signal, answered in a file."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import msgspec
import structlog

from confd.cluster.identity import write_private
from confd.daemon.elections import Elections
from confd.model.errors import ConfDError

log = structlog.get_logger("ordering")

TAKE_OVER: Final = signal.SIGUSR1
"""Tells a daemon to take over."""


async def obey(elections: Elections, node: int, root: Path) -> None:
    """Take over as ordered, and write what came of it."""
    try:
        answer = {"done": True, "text": f"n{node} is master now; {await elections.take_over()}"}
    except ConfDError as error:
        answer = {"done": False, "text": error.message}
    except Exception as error:
        log.exception("take_over_failed")
        answer = {"done": False, "text": repr(error)}
    write_private(answer_file(root), msgspec.json.encode(answer))


def answer_file(root: Path) -> Path:
    """Return where a daemon writes what came of an order to take over."""
    return root / "spool/take-over.json"


def pid_file(root: Path) -> Path:
    """Return where a daemon notes its process id."""
    return root / "spool/confd.pid"


def write_pid(root: Path) -> None:
    """Note this process as the daemon of a node."""
    path = pid_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
