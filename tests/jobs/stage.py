"""A stage for jobs: a cluster without daemons, whose nodes are directories.

    stage = Stage(tmp_path)                      # state in
    stage.run("user_create", username="ann", ...)  # run
    assert "ann" in stage.conf.users             # state out

A job runs as in production, with its locks named and its rights checked, but in the calling thread and without a
journal: node operations are real and work below ``tmp_path``, a failed job is undone, a finished one is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from confd.cluster.host import Host, reports
from confd.cluster.operations import MASTER, Command
from confd.exaconf import Conf, Disk, ExaStorage, Global, Group, Logging, Node, Section, User
from confd.model.errors import ConfDError, NodeOffline
from confd.model.secret import Secret, Vault
from confd.model.states import NodeState
from confd.scheduler.caller import Caller, authorise, caller_named
from confd.scheduler.context import Context
from confd.scheduler.registry import load
from confd.scheduler.steps import PlannedSteps, Steps
from confd.services.archive.upkeep import Upkeep
from confd.services.etcd.members import EtcdMembers
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.stores import Moving
from confd.services.storage.devices import NewDevice, add_device
from confd.store.choice import StoreKind

MIB = 2**20
GIB = 2**30
ADMINISTRATION = ("exaadm", "exadbadm", "exastoradm", "exabfsadm", "exasaasadm")
GROUPS = {"root": 0, "exausers": 500} | dict(zip(ADMINISTRATION, range(499, 494, -1), strict=True))


def sections(*, nodes: Sequence[int] = (11, 12, 13), disk: str = "disk1") -> dict[str, Section]:
    """Return what every cluster begins with."""
    made = [
        Global(cluster_name="stage", platform="Host", xmlrpc_port=20003),
        ExaStorage(),
        Logging(),
        *(Group(name=name, id=number) for name, number in GROUPS.items()),
        User(name="root", id=0, group="root", additional_groups=("exausers", *ADMINISTRATION)),
        User(name="exadefusr", id=500, group="exausers", login_enabled=False),
        User(name="exasaasusr", id=499, group="exausers", login_enabled=False),
        User(name="admin", id=1000, group="exaadm"),
        User(name="ann", id=1001, group="exausers"),
        User(name="stella", id=1002, group="exastoradm"),
        *(
            Node(
                id=node,
                name=f"n{node}",
                private_net=f"127.0.0.{node}/8",
                docker_volume=f"n{node}",
                uuid=f"{node:040X}",
                disks={disk: Disk(name=disk, devices=("dev.1",))},
            )
            for node in nodes
        ),
    ]
    return {section.key: section for section in made}


@dataclass(frozen=True)
class Ran:
    """What a job left: its result, warnings, and the commands that it had settled."""

    result: Any
    warnings: list[str]
    settled: list[Command[Any]]


@dataclass(frozen=True)
class Planned:
    """What a dry run tells: changed sections, commands."""

    changes: dict[str, Section | None]
    commands: list[Command[Any]]


@dataclass
class Stage:
    """State of the cluster, and running of jobs on it."""

    root: Path
    capacity: int = GIB
    nodes: Sequence[int] = (11, 12, 13)
    conf: Conf = field(init=False)
    records: dict[str, Any] = field(default_factory=dict)
    states: dict[int, NodeState] = field(init=False)
    services: dict[type[Any], Any] = field(default_factory=lambda: {Vault: Vault(Vault.new_key())})
    store: Any = None
    jobs: int = 0

    def __post_init__(self) -> None:
        self.conf = Conf(1, sections(nodes=self.nodes))
        self.states = dict.fromkeys(self.nodes, NodeState.ONLINE)
        cluster: Any = self
        self.services.setdefault(Upkeep, Upkeep(cluster))
        self.services.setdefault(EtcdMembers, EtcdMembers(StageCluster(self)))
        self.services.setdefault(Moving, Moving(StoreKind.SQLITE, "", lambda *_: None))
        self.services.setdefault(Attendance, Attendance(StageCluster(self)))
        for node in self.nodes:
            device = NewDevice(name="dev.1", disk="disk1", uuid=f"u{node}", sectors=self.capacity // 4096)
            add_device.function(self.host(node), device)

    @property
    def node(self) -> int:
        """The node that is master."""
        return self.nodes[0]

    def host(self, node: int) -> Host:
        """Return the machine of a node."""
        root = self.root / f"n{node}"
        root.mkdir(parents=True, exist_ok=True)
        return Host(node, f"127.0.0.{node}", root, self.root, None, (), lambda: self.conf)

    def put(self, *changed: Section) -> None:
        """Change the configuration without a job."""
        self.conf = self.conf.with_changes({section.key: section for section in changed}, self.conf.revision + 1)

    def run(self, name: str, /, *, by: str = "root", peer: str = "unix", **given: Any) -> Ran:
        """Run a job to its end.

        :raises ConfDError: what the job ended with; it is undone then.
        """
        job = load()[name]
        values = job.read(given)
        authorise(job, self.caller(by), self.conf, values)
        assert isinstance(job.locks(self.conf, values), tuple)
        steps = DirectSteps(self.call)
        ctx = self._context(steps, by, peer)
        try:
            output = msgspec.to_builtins(job.function(ctx, **values), str_keys=True, enc_hook=Secret.reveal)
        except ConfDError:
            steps.undo()
            raise
        revision = self.conf.revision + 1 if ctx.conf.changes else None
        if revision is not None:
            self.conf = ctx.conf.result(revision)
        records = self.records | ctx.changed_records(revision)
        self.records = {key: value for key, value in records.items() if value is not None}
        for command in ctx.settling:
            if command.node == MASTER or self.states.get(command.node) is NodeState.ONLINE:
                self.call(command)
        return Ran(output, ctx.warnings, ctx.settling)

    def plan(self, name: str, /, *, by: str = "root", **given: Any) -> Planned:
        """Try a job without effect."""
        job, steps = load()[name], PlannedSteps()
        ctx = self._context(steps, by, "unix")
        job.function(ctx, **job.read(given))
        return Planned(ctx.conf.changes, [*steps.commands, *ctx.settling])

    def caller(self, name: str) -> Caller:
        """Return a user as caller."""
        return caller_named(self.conf, name)

    def call(self, command: Command[Any], timeout: float = 60.0) -> Any:
        """Run a command on its node or on the master, as it travels."""
        if command.node == MASTER:
            return self._travel(command, StageMaster(StageCluster(self), self.services))
        if self.states.get(command.node) is not NodeState.ONLINE:
            raise NodeOffline(f"n{command.node} is offline; {command.name} was not run there")
        return self._travel(command, self.host(command.node))

    def record(self, key: str) -> Any:
        """Return a runtime record."""
        return self.records.get(key)

    def node_states(self) -> dict[int, NodeState]:
        """Return the state of every node."""
        return dict(self.states)

    def status(self, node: int, service: str) -> Any:
        """Return what a service reports from a node."""
        if self.states.get(node) is not NodeState.ONLINE:
            return None
        return msgspec.json.decode(msgspec.json.encode(reports(self.host(node)).get(service)))

    @staticmethod
    def _travel(command: Command[Any], place: Any) -> Any:
        arguments = msgspec.json.decode(msgspec.json.encode(command.arguments))
        travelled = msgspec.json.encode(command.operation.run(place, arguments))
        return command.operation.result(msgspec.json.decode(travelled))

    def _context(self, steps: Steps, by: str, peer: str) -> Context:
        self.jobs += 1
        request = {"peer": peer, "node": self.nodes[0]}
        cluster: Any = self
        return Context(
            f"11.{self.jobs}", self.caller(by), request, self.conf, self.records, steps, cluster, self.store,
            self.services.__getitem__, self.services[Vault],
        )  # fmt: skip


class StageCluster:
    """The stage as services see the cluster: its configuration is asked for."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def conf(self) -> Any:
        """Return the configuration."""
        return self._stage.conf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


class StageMaster:
    """Where master operations run."""

    canceled = False

    def __init__(self, cluster: Any, services: Mapping[type[Any], Any]) -> None:
        self.cluster = cluster
        self.service = services.__getitem__

    def say(self, line: str) -> None:
        """Nobody reads it."""


class DirectSteps:
    """Runs commands at once and keeps their undos."""

    def __init__(self, call: Callable[[Command[Any]], Any]) -> None:
        self._call = call
        self._undos: list[Command[Any]] = []

    def run(self, commands: Sequence[tuple[Command[Any], Command[Any] | None]]) -> list[Any]:
        """Run commands one by one; all of them, before an error is raised."""
        self._undos += [undo for _, undo in commands if undo is not None]
        answers = [self._try(command) for command, _ in commands]
        for answer in answers:
            if isinstance(answer, ConfDError):
                raise answer
        return answers

    def learn(self, what: str, ask: Callable[[], Any]) -> Any:
        """Ask, and hand the answer on as it would be recorded."""
        return msgspec.json.decode(msgspec.json.encode(ask()))

    def undo(self) -> None:
        """Take everything back, latest first."""
        for command in reversed(self._undos):
            self._try(command)

    def _try(self, command: Command[Any]) -> Any:
        try:
            return self._call(command)
        except ConfDError as error:
            return error


def files_below(path: Path) -> Mapping[str, bytes]:
    """Return all files below a directory with their content, to compare before and after."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
