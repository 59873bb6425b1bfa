"""Where operations run: a node's own machine, or the master with its view of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import structlog

from confd.cluster.leases.lease import Leases, NoLeases
from confd.exaconf import Conf
from confd.model.envelope import Outcome
from confd.model.errors import InvalidParameter
from confd.model.states import NodeState

log = structlog.get_logger("host")

S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)

EXA = PurePosixPath("/exa")


@dataclass(frozen=True)
class Host:
    """One node's machine as operations see it.

    ``root`` is EXA_ROOT: everything the node writes is below it. ``runtime`` is a short directory for
    unix sockets. ``database_user`` owns database files and processes; None means the daemon's own user.
    ``conf`` gives the revision this node has applied. ``leases`` has the lease that bounds its instances. ``end`` has
    the node's daemon stop its instances and end, soon after; also forget its secrets, when it is told that the cluster
    has removed it. ``trouble`` says why it does not serve clients, nothing when it does. ``say`` adds a line to the
    output of the command.
    """

    node: int
    address: str
    root: Path
    runtime: Path
    database_user: str | None
    installations: tuple[Path, ...]
    conf: Callable[[], Conf]
    leases: Leases = field(default_factory=NoLeases)
    lines: list[str] = field(default_factory=list)
    end: Callable[[bool], None] = lambda removed: None
    trouble: Callable[[], str] = lambda: ""

    @property
    def name(self) -> str:
        """Node name, ``n11``."""
        return f"n{self.node}"

    def say(self, line: str) -> None:
        """Add a line to the output that the job file shows for this command."""
        self.lines.append(line)

    def with_output(self, lines: list[str]) -> Host:
        """Return the same host writing the output of one command to ``lines``."""
        return replace(self, lines=lines)

    def path(self, view: str) -> Path:
        """Resolve a path of the node's view (``/exa/...``) below the root.

        :raises InvalidParameter: the path leaves the root.
        """
        pure = PurePosixPath(view)
        relative = pure.relative_to(EXA) if pure.is_relative_to(EXA) else pure
        if relative.is_absolute() or ".." in relative.parts:
            raise InvalidParameter(f"{view!r} is outside of {EXA}; give a path below it")
        return self.root / relative


@dataclass(frozen=True)
class Submission:
    """A job that a service submitted, and what it will have ended with.

    ``outcome`` fails with NoMaster when this master goes down first; the next one goes on with the job.
    """

    job_id: str
    outcome: Future[Outcome]


class Cluster(Protocol):
    """The master's view of the whole cluster, for what services do there."""

    @property
    def node(self) -> int:
        """The node that is master."""

    def conf(self) -> Conf:
        """Return the newest committed revision."""

    def record(self, key: str) -> Any:
        """Return a runtime record (JSON value), None when there is none."""

    def put_record(self, key: str, value: Any) -> None:
        """Write a runtime record; None deletes. Durable when this returns."""

    def node_states(self) -> dict[int, NodeState]:
        """Return the present state of every configured node."""

    def status(self, node: int, service: str) -> Any:
        """Return what a service last reported from a node (at most a heartbeat old), None if nothing."""

    @property
    def leases(self) -> Leases:
        """The leases of the nodes, as the master sees them."""

    def call(self, command: Any, timeout: float = 60.0) -> Any:
        """Run a command on its node now, outside of any job; the typed result.

        :raises NodeOffline: the node does not answer.
        :raises ConfDError: what the operation raised.
        """

    def submit(self, job: str, params: Mapping[str, Any]) -> Submission:
        """Submit a job as the system; it is in the history like any other, durable when this returns.

        A job that is refused has an outcome, too: it is no exception.

        :raises NoMaster: this master is going down; nothing was submitted.
        """

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back (from any thread, must not block) when conf, records, node states or status change."""


class Master(Protocol):
    """Where master operations run."""

    @property
    def cluster(self) -> Cluster:
        """The cluster this node is master of."""

    def service(self, kind: type[S]) -> S:
        """Return the one long-lived service object of a class, e.g. the database supervision."""

    def say(self, line: str) -> None:
        """Add a line to the output of the command."""

    @property
    def canceled(self) -> bool:
        """True once the master is going down: a waiting operation returns or raises soon after."""


Reporter = Callable[[Host], Any]
_REPORTERS: dict[str, Reporter] = {}


def reporter(service: str) -> Callable[[Reporter], Reporter]:
    """Register what a service reports from its node with every heartbeat (JSON-able, fast)."""

    def register(function: Reporter) -> Reporter:
        _REPORTERS[service] = function
        return function

    return register


def reports(host: Host) -> dict[str, Any]:
    """Collect what all services report from a node now; a service that fails is left out."""
    collected: dict[str, Any] = {}
    for service, report in _REPORTERS.items():
        try:
            collected[service] = report(host)
        except Exception:
            log.exception("report_failed", service=service)
    return collected
