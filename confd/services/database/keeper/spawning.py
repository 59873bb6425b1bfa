"""How a keeper's child becomes the database server; standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_prctl = ctypes.CDLL(None).prctl


def adopt_orphans() -> None:
    """Become parent of what a dead server leaves behind, so that it does not stay as zombies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def become_server(order: dict[str, Any], data: Path, log: int, keeper: int) -> NoReturn:
    """Turn this child process into the server, which stops (fast) when the keeper dies."""
    try:
        _detach(log, order["uid"], order["gid"])
        os.chdir(data)
        # After setuid, which clears it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() == keeper:
            os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606
    except Exception as error:
        os.write(2, f"FATAL:  {order['argv'][0]} cannot be run: {error}\n".encode())
    finally:
        # Nothing may go on as a second keeper.
        os._exit(127)


def _detach(log: int, uid: int, gid: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.setsid()
    os.umask(0o077)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
