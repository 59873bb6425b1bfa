"""Three nodes and what can happen to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Callable
from typing import Final

import psutil

from confd.cli.connection import Connection, SocketHTTP
from confd.cli.exits import CommandError
from tests.cluster.harness import Cluster, until
from tests.failpoints.spawner import Spawner
from tests.history.network import Network, is_possible
from tests.history.refusing import Refusals

CALL_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 2.0
_MASTER_SECONDS: Final = 120.0

#: Happens to a node.
Event = Callable[[int], None]


class Daemons:
    """The daemons of a cluster, each with its network where that is possible; otherwise with refused connections.

    :param elects: the store chooses a new master when one dies.
    :param refused: take refused connections although namespaces are possible.
    """

    def __init__(self, cluster: Cluster, *, elects: bool, refused: bool = False) -> None:
        self.cluster, self.elects = cluster, elects
        cluster.c4("stop", "-t", "1")
        self.partitions: Network | Refusals = (
            Network(cluster.addresses) if is_possible() and not refused else Refusals(cluster.addresses, cluster.home)
        )
        self._spawners: dict[int, Spawner] = {}
        self.pids: dict[int, int] = {}
        try:
            for node in cluster.addresses:
                self._spawners[node] = self.partitions.spawner(node, cluster)
            self.repair()
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End everything, whole before: nobody stands still or is cut off who would have to hear of it."""
        try:
            self.repair()
        finally:
            self._end()

    @property
    def events(self) -> list[Event]:
        """What can happen to a node, the likelier the more often."""
        lost = [self.lose] * 2 if self.elects else []
        cuts = [self.cut, self.cut, self.part, self.deafen]
        return [self.kill, self.kill, self.pause, self.stop, self.hand_over, *lost, *cuts]

    def kill(self, node: int) -> None:
        """Kill -9 the daemon."""
        self._signal(node, signal.SIGKILL)

    def lose(self, node: int) -> None:
        """Kill -9 the daemon and its member of etcd, as when a machine loses its power."""
        self.kill(node)
        for process in self._members(node):
            process.kill()

    def stop(self, node: int) -> None:
        """Stop the daemon in order."""
        self._signal(node, signal.SIGTERM)

    def pause(self, node: int) -> None:
        """Have the daemon stand still."""
        self._signal(node, signal.SIGSTOP)

    def cut(self, node: int) -> None:
        """Cut a node off from all others; its own clients reach it."""
        self.partitions.cut(node)
        if isinstance(self.partitions, Refusals):
            # Its etcd refuses nobody, so it stands still.
            for process in self._members(node):
                process.suspend()

    def part(self, node: int) -> None:
        """Cut a node off from the next one only."""
        self.partitions.part(node, self._next(node))

    def deafen(self, node: int) -> None:
        """Have the next node hear nothing from this one; the other way is free."""
        self.partitions.deafen(node, self._next(node))

    def hand_over(self, node: int) -> None:
        """Ask for mastership to be given to a node, without waiting for the end."""
        connection = self.connection(node, _LOOK_SECONDS)
        with contextlib.suppress(CommandError):
            connection.call("job_start", "master_change", {"params": {"nids": [node]}})
        connection.close()

    def repair(self) -> None:
        """Take everything back that happened, and wait until all nodes serve."""
        self.partitions.heal()
        for node in self.cluster.addresses:
            for process in self._members(node):
                process.resume()
            self._signal(node, signal.SIGCONT)
            if node not in self.pids or not _alive(self.pids[node]):
                self._start(node)
        for node in self.cluster.addresses:
            until(lambda node=node: self._serves(node), f"n{node} serves{self.cluster.logs()}", 120.0)

    def change_master(self) -> None:
        """Have another node lead: the master dies and does not return before; where nobody elects, it is asked to."""
        old = until(self.master, "a node leads", _MASTER_SECONDS)
        if self.elects:
            self.lose(old)
        others = [node for node in self.cluster.addresses if node != old]

        def changed() -> bool:
            if not self.elects:
                self.hand_over(others[0])
            return self.master() in others

        until(changed, f"another node leads than n{old}{self.cluster.logs()}", _MASTER_SECONDS)

    def master(self) -> int | None:
        """Return the node that says it leads."""
        return next((node for node in self.cluster.addresses if self._leads(node)), None)

    def connection(self, node: int, seconds: float = CALL_SECONDS) -> Connection:
        """Return a connection to a node as its own user."""
        return Connection(lambda: SocketHTTP(self._socket(node), seconds), f"n{node}")

    def _next(self, node: int) -> int:
        nodes = list(self.cluster.addresses)
        return nodes[(nodes.index(node) + 1) % len(nodes)]

    def _end(self) -> None:
        for node in self.pids:
            self.kill(node)
        for spawner in self._spawners.values():
            spawner.close()
        self.partitions.close()

    def _start(self, node: int) -> None:
        self.pids[node] = self._spawners[node].start("")

    def _socket(self, node: int) -> str:
        runtime = json.loads((self.cluster.root(node) / "etc/node.json").read_text())["runtime"]
        return f"{runtime}/confd.sock"

    def _leads(self, node: int) -> bool:
        http_ = SocketHTTP(self._socket(node), _LOOK_SECONDS)
        try:
            http_.request("GET", "/is_master")
            return http_.getresponse().read() == b"true"
        except (OSError, http.client.HTTPException):
            return False
        finally:
            http_.close()

    def _serves(self, node: int) -> bool:
        # One that was told to stop may still be about to.
        if not _alive(self.pids[node]):
            self._start(node)
        connection = self.connection(node)
        try:
            answer = connection.call("job_exec", "group_info", {"params": {"groupname": "exaadm"}})
        except CommandError:
            return False
        finally:
            connection.close()
        return bool(answer["result_code"] == 0)

    def _members(self, node: int) -> list[psutil.Process]:
        """Return the etcd of a node; it outlives its daemon."""
        found = []
        for process in psutil.process_iter() if self.elects else ():
            with contextlib.suppress(psutil.Error):
                if process.name() == "etcd" and process.cwd().startswith(f"{self.cluster.root(node)}/"):
                    found.append(process)
        return found

    def _signal(self, node: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self.pids[node], number)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
