"""The agent's side of a process that outlives it: start one, ask it, see whether it lives."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import confd

_PACKAGE_ROOT: Final = Path(confd.__path__[0]).parent
_STARTUP: Final = 60.0
_LONGEST_COMPLAINT: Final = 500


class BackgroundClient:
    """Talks to one process by the file that it locks and the socket on which it answers."""

    def __init__(self, lock: Path, path: Path) -> None:
        self._lock, self._path = lock, path

    def launch(self, flags: str, module: str, *words: Path) -> tuple[int, str]:
        """Start a module as a process with nothing of the daemon's environment, and wait until it is in the background.

        :param flags: of the interpreter.
        :returns: the exit status of the foreground and the end of what it complained of.
        """
        started = subprocess.run(
            [sys.executable, flags, "-m", module, *words],
            check=False,
            cwd=_PACKAGE_ROOT,
            env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=_STARTUP,
        )
        return started.returncode, started.stderr.decode(errors="replace")[-_LONGEST_COMPLAINT:]

    def ask(self, wait: float, **request: Any) -> str:
        """Return the answer to a request, a JSON line.

        :raises FileNotFoundError: there is no such process.
        :raises ConnectionError: it ended.
        :raises TimeoutError: it did not answer within so many seconds.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(wait)
            connection.connect(str(self._path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = connection.makefile("r").readline()
        if not answer:
            raise ConnectionError("the process ended without an answer")
        return answer

    def lives(self) -> bool:
        """Tell whether there is such a process."""
        try:
            with self._lock.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def note(self) -> Any:
        """Return what the process last wrote about itself (JSON), None when there was none."""
        try:
            return json.loads(self._lock.read_text())
        except (FileNotFoundError, ValueError):
            return None
