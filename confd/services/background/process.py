"""What a process does that outlives the daemon which started it; standard library only, keepers import it.

It holds a lock on a file of its state directory as long as it lives, goes into the background, and answers one JSON
line per connection on a socket. The foreground process ends when all this is so, or with the error.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

HELD = 3
"""Exit status: another process is at it."""


class Background:
    """The place of a process: its lock, and the foreground that waits for it.

    Made in the foreground; all that follows happens in the background.
    """

    def __init__(self, lock: Path, path: Path) -> None:
        self._path = path
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(HELD)
        self._tell = _detach()

    def listen(self) -> socket.socket:
        """Return a socket on which only the own user is heard."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        self._path.chmod(0o600)
        listener.listen(16)
        return listener

    def run(self, note: str, serve: Callable[[], None]) -> None:
        """Leave a note in the lock file, let the foreground end well, serve, and take the socket away.

        What was printed as error until then, the foreground's caller reads; nothing after that.
        """
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, note.encode(), 0)
        os.write(self._tell, b"+")
        os.close(self._tell)
        os.dup2(0, 2)
        serve()
        self._path.unlink(missing_ok=True)


def reply(connection: socket.socket, line: bytes) -> None:
    """Answer and hang up; who asked may be gone."""
    with connection, suppress(OSError):
        connection.sendall(line + b"\n")


def _detach() -> int:
    """Go on in the background; the returned pipe tells the waiting foreground process that all is well."""
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(told, 1) else 1)
    os.close(told)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    return tell
