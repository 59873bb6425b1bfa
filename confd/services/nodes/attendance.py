"""The master's eye on nodes that come and go: what is started anew comes back into service, who waits is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from confd.cluster.host import Cluster, Submission
from confd.cluster.leading.member import JOINED_AT
from confd.cluster.leading.quorum import quorum_of
from confd.exaconf import Node
from confd.model.errors import ConfDError, NoMaster
from confd.model.states import NodeState
from confd.services.database.observed import RUNNING_STATES
from confd.services.nodes.machine import quiesce
from confd.services.nodes.standing import Suspension, returned, suspension_key
from confd.services.rounds import Rounds

log = structlog.get_logger("attendance")

_LOOK: Final = 0.5
_AGAIN: Final = 5.0


class Attendance:
    """Looks after the coming and going of nodes while its node is master; knows nothing that it could forget."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._clock = cluster, clock
        self._changed = threading.Condition()
        self._resuming: Submission | None = None
        self._rest: dict[int, float] = {}
        self._rounds = Rounds("attendance", self.look, every=_LOOK)

    def start(self) -> None:
        """Begin."""
        self._cluster.watch(self._wake)
        self._rounds.start()

    def close(self) -> None:
        """End; whoever waits is told that the master is gone."""
        with self._changed:
            self._rounds.end()
            self._changed.notify_all()
        self._rounds.close()

    def wait(self, nodes: Sequence[int], there: Callable[[int], bool], seconds: float) -> list[int]:
        """Wait until something holds for all nodes, or the time is over; return those for which it holds.

        :raises NoMaster: this node is master no longer; the next one can be asked.
        """
        until = self._clock() + seconds
        with self._changed:
            while True:
                if self._rounds.ended:
                    raise NoMaster("this master is going down; ask the next one")
                reached = [node for node in nodes if there(node)]
                left = until - self._clock()
                if len(reached) == len(nodes) or left <= 0:
                    return reached
                self._changed.wait(min(left, _LOOK))

    def answers(self, node: int) -> bool:
        """Tell whether the daemon of a node answers, in or out of service."""
        return self._cluster.status(node, "nodes") is not None

    def ready(self, node: int) -> bool:
        """Tell whether a node takes jobs, and is in service unless it was taken out of it for good."""
        told = self._cluster.status(node, "nodes") or {}
        known = self._cluster.conf().nodes.get(node)
        online = self._cluster.node_states().get(node) is NodeState.ONLINE
        return bool(told.get("ready")) and (online or (known is not None and known.disabled))

    def gone(self, node: int) -> bool:
        """Tell whether a node has shut down, as far as can be seen from here."""
        return self._cluster.node_states().get(node) is not NodeState.ONLINE and not self.answers(node)

    def look(self) -> None:
        """Do what is to do now."""
        suspended = [node for node in self._cluster.conf().nodes.values() if node.suspended]
        for node in suspended:
            self._silence(node)
        self._resume([node.id for node in suspended if self._returned(node)])

    def _returned(self, node: Node) -> bool:
        if node.id == self._cluster.node:
            return not node.disabled
        stored = self._cluster.record(suspension_key(node.id))
        suspension = None if stored is None else msgspec.convert(stored, Suspension)
        return returned(node, suspension, self._cluster.status(node.id, JOINED_AT))

    def _silence(self, node: Node) -> None:
        """Stop what a node still runs that was suspended while it was out of reach: others have taken over."""
        running = self._cluster.status(node.id, "database") or {}
        if any(told["state"] in RUNNING_STATES for told in running.values()):
            try:
                self._cluster.call(quiesce.on(node.id))
            except ConfDError as error:
                log.warning("instances_not_stopped", node=node.id, error=error.message)

    def _resume(self, nodes: list[int]) -> None:
        now = self._clock()
        # One that the last job did not bring back waits; another one that returned meanwhile does not.
        nodes = [node for node in nodes if now >= self._rest.get(node, now)]
        if not nodes or (self._resuming and not self._resuming.outcome.done()):
            return
        if not quorum_of(self._cluster.node_states()).held:
            # It would be refused; the nodes wait.
            return
        self._rest |= dict.fromkeys(nodes, now + _AGAIN)
        try:
            self._resuming = self._cluster.submit("node_resume", {"nid": nodes})
            log.info("nodes_started_anew", nodes=nodes, job_id=self._resuming.job_id)
        except ConfDError as error:
            log.warning("nodes_not_resumed", nodes=nodes, error=error.message)

    def _wake(self) -> None:
        self._rounds.wake()
        with self._changed:
            self._changed.notify_all()
