"""Starts the daemon of one node again and again, each time as a fork: everything is loaded already.

Runs as ``python -m tests.failpoints.spawner confd --root ROOT`` (words by which c4 knows a daemon). Each line on its
input starts a daemon with these orders for failpoints; it answers with the process id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from confd.model.failpoints import VARIABLE


class Spawner:
    """The starting process of a node, from outside; ``module`` is what it runs."""

    module = "tests.failpoints.spawner"

    def __init__(self, root: Path, env: dict[str, str], prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", self.module, "confd", "--root", str(root)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True, start_new_session=True)

    def start(self, orders: str) -> int:
        """Start the daemon; its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(orders, file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Start no more; daemons go on."""
        self._process.communicate(timeout=20)


def serve(arguments: list[str]) -> None:
    """Start a daemon for every line of the input."""
    from confd.cli.confd import main
    from confd.daemon import node
    from confd.scheduler import registry

    assert node
    registry.load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    root = Path(arguments[-1])
    for orders in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become_daemon(root, orders.strip())
            main(arguments[1:])
        print(pid, flush=True)


def _become_daemon(root: Path, orders: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir("/")
    os.environ[VARIABLE] = orders
    output = os.open(root / "logs/logd/confd.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, output, output)):
        os.dup2(file, number)


if __name__ == "__main__":
    serve(sys.argv[1:])
