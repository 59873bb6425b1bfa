"""Partitions without rights for namespaces: daemons that refuse to connect to each other, and break what is connected.

Runs as ``python -m tests.history.refusing confd --root ROOT`` in place of the spawner of the failpoints, which it is.
Whom a daemon refuses stands in a file that it reads before each connection and all the time beside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from tests.cluster.harness import Cluster
from tests.failpoints import spawner
from tests.failpoints.spawner import Spawner

VARIABLE: Final = "CONFD_TEST_REFUSED"
_LOOK_SECONDS: Final = 0.05


class RefusingSpawner(Spawner):
    """Starts daemons that refuse."""

    module = __name__


class Refusals:
    """Whom each node refuses to connect to; what two nodes have open breaks, it is not waited for."""

    kind = "refused connections"

    def __init__(self, addresses: Mapping[int, str], home: Path) -> None:
        self._addresses, self._home = dict(addresses), home
        self.heal()

    def spawner(self, node: int, cluster: Cluster) -> Spawner:
        """Return what starts the daemon of a node."""
        return RefusingSpawner(cluster.root(node), cluster.env | {VARIABLE: str(self.file(node))})

    def cut(self, node: int) -> None:
        """Have a node and all others refuse each other."""
        for other in self._addresses:
            if other != node:
                self.part(node, other)

    def part(self, one: int, other: int) -> None:
        """Have two nodes refuse each other."""
        self.deafen(one, other)
        self.deafen(other, one)

    def deafen(self, one: int, other: int) -> None:
        """Have a node refuse to connect to another one, which still connects to it."""
        self._write(one, {*self.file(one).read_text().split(), self._addresses[other]})

    def heal(self) -> None:
        """Nobody refuses anybody any more."""
        for node in self._addresses:
            self._write(node, set())

    def close(self) -> None:
        """Leave nothing."""
        for node in self._addresses:
            self.file(node).unlink(missing_ok=True)

    def file(self, node: int) -> Path:
        """Return the file with the addresses that a node refuses."""
        return self._home / f"refused-by-n{node}"

    def _write(self, node: int, refused: set[str]) -> None:
        fresh = self.file(node).with_suffix(".new")
        fresh.write_text(" ".join(sorted(refused)))
        fresh.replace(self.file(node))


def refuse(path: Path) -> None:
    """Have this process and those that it forks connect to nobody who stands in a file."""
    connect: Callable[[socket.socket, Any], None] = socket.socket.connect
    breaking = 0

    def connect_unless_refused(self: socket.socket, address: Any) -> None:
        nonlocal breaking
        # Threads do not come through a fork.
        if breaking != os.getpid():
            breaking = os.getpid()
            threading.Thread(target=_break, args=(path,), daemon=True).start()
        if isinstance(address, tuple) and address[0] in _refused(path):
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        connect(self, address)

    setattr(socket.socket, "connect", connect_unless_refused)  # noqa: B010 - mypy takes no assignment to a method


def _break(path: Path) -> None:
    while True:
        if refused := _refused(path):
            for connection in psutil.Process().net_connections("tcp"):
                if connection.raddr and connection.raddr.ip in refused:
                    _shut(connection.fd, refused)
        # A daemon has nothing that would say when a file changes; that it looks often is what this thread is for.
        time.sleep(_LOOK_SECONDS)


def _shut(descriptor: int, refused: set[str]) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
        # The number may belong to another connection by now.
        if found.getpeername()[0] in refused:
            found.shutdown(socket.SHUT_RDWR)


def _refused(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except FileNotFoundError:
        return set()


if __name__ == "__main__":
    refuse(Path(os.environ.pop(VARIABLE)))
    spawner.serve(sys.argv[1:])
