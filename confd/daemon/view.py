"""What services and jobs on the master see of the cluster, and how their commands get to nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from confd.cluster.following.agent import Agent, Reply, reply_of
from confd.cluster.host import Host, Submission, reports
from confd.cluster.leading.leader import Leader
from confd.cluster.leases.lease import Leases
from confd.cluster.operations import MASTER, Command
from confd.exaconf import Conf
from confd.model.errors import ConfDError, NoMaster, TimedOut, error_from
from confd.model.states import NodeState
from confd.scheduler.head import Head

S = TypeVar("S")

Submit = Callable[[str, Mapping[str, Any]], Submission]


class ClusterView:
    """The cluster as its master sees it: configuration, records, nodes, commands."""

    def __init__(self, host: Host, head: Head, leader: Leader, agent: Agent) -> None:
        self._host, self._head, self._leader, self._agent = host, head, leader, agent
        self._own_status: dict[str, Any] = {}
        self._watchers: list[Callable[[], None]] = []
        self._services: dict[type[Any], Any] = {}
        self.canceled = False
        self.submitting: Submit = _nobody
        head.watch(self.tell)
        leader.watch(self.tell)

    @property
    def node(self) -> int:
        """The node that is master: this one."""
        return self._host.node

    def conf(self) -> Conf:
        """Return the newest committed revision."""
        return self._head.conf

    def record(self, key: str) -> Any:
        """Return a runtime record, None when there is none."""
        return self._head.records.get(key)

    def put_record(self, key: str, value: Any) -> None:
        """Write a runtime record; None deletes."""
        self._head.put_record(key, value)

    def node_states(self) -> dict[int, NodeState]:
        """Return the present state of every configured node."""
        return self._leader.states()

    def booted(self) -> dict[int, float]:
        """Return when nodes were booted, UTC seconds."""
        return self._leader.booted()

    def status(self, node: int, service: str) -> Any:
        """Return what a service last reported from a node."""
        if node == self._host.node:
            return self._own_status.get(service)
        return self._leader.status(node, service)

    @property
    def leases(self) -> Leases:
        """The leases of the nodes."""
        return self._host.leases

    def call(self, command: Command[Any], timeout: float = 60.0) -> Any:
        """Run a command on its node now, outside of any job."""
        try:
            reply = self.send("", 0, command).result(timeout)
        except FutureTimeout:
            raise TimedOut(f"{command.name} on n{command.node} did not end within {timeout:.0f} s") from None
        if reply.code:
            raise error_from(reply.code, reply.message)
        return command.operation.result(reply.result)

    def submit(self, job: str, params: Mapping[str, Any]) -> Submission:
        """Submit a job as the system."""
        return self.submitting(job, params)

    def send(self, job_id: str, number: int, command: Command[Any]) -> Future[Reply]:
        """Run a command under a key on its node, on this node, or on the master as such."""
        key = (job_id, number)
        if command.node == MASTER:
            return self._agent.run(key, command.name, command.arguments, lambda lines: MasterPlace(self, lines))
        if self._leader.superseded:
            return _refused(NoMaster("this node is no longer master; nothing is done in its name"))
        if command.node == self._host.node:
            return self._agent.run(key, command.name, command.arguments, self._host.with_output)
        return self._leader.send(key, command)

    def written(self, revision: int) -> Future[list[int]]:
        """Complete, in the thread of the network, when live nodes have written a revision; with those that are late."""
        return self._leader.written(revision)

    def share(self) -> None:
        """Return once another node knows what is durable here, so that it can undo what this one has begun."""
        self._leader.shared().result()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back when conf, records, node states or status change."""
        self._watchers.append(changed)

    def tell(self) -> None:
        """Tell everybody who watches that something changed."""
        for changed in self._watchers:
            changed()

    def refresh_own_status(self) -> None:
        """Collect the reports of this node, as heartbeats do for the others."""
        status = reports(self._host)
        if status != self._own_status:
            self._own_status = status
            self.tell()

    def add_service(self, service: Any) -> None:
        """Make a long-lived service object known by its class."""
        self._services[type(service)] = service

    def service(self, kind: type[S]) -> S:
        """Return the service object of a class."""
        found: S = self._services[kind]
        return found


def _nobody(job: str, params: Mapping[str, Any]) -> Submission:
    raise NoMaster(f"this node takes no jobs yet; {job} was not submitted")


class MasterPlace:
    """Where one master operation runs."""

    def __init__(self, cluster: ClusterView, lines: list[str]) -> None:
        self.cluster = cluster
        self._lines = lines

    def service(self, kind: type[S]) -> S:
        """Return the service object of a class."""
        return self.cluster.service(kind)

    def say(self, line: str) -> None:
        """Add a line to the output of the command."""
        self._lines.append(line)

    @property
    def canceled(self) -> bool:
        """True once the master is going down."""
        return self.cluster.canceled


def _refused(error: ConfDError) -> Future[Reply]:
    refused: Future[Reply] = Future()
    refused.set_result(reply_of(error))
    return refused
