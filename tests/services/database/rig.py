"""A cluster in one process for tests: real files and servers, operations run in the caller's thread."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from confd.cluster.certificates import Pair, new_self_signed
from confd.cluster.host import Host, Submission, reports
from confd.cluster.identity import write_private
from confd.cluster.leading.dispatch import EVEN_SUSPENDED
from confd.cluster.leases.lease import Leases, NoLeases
from confd.exaconf import Conf, Database, Disk, Global, Node, Volume, VolumeType
from confd.model.envelope import Outcome
from confd.model.errors import ConfDError, NodeOffline, error_from
from confd.model.secret import Secret
from confd.model.sizes import Bytes
from confd.model.states import NodeState
from confd.services.database.engine.layout import Layout, data_place, layout
from confd.services.database.keeper.client import KeeperClient
from confd.services.database.keeper.processes import clear, processes_in
from confd.services.database.record import Record, new_generation, write_record
from confd.services.database.scram import make_verifier
from confd.services.database.supervision.supervision import Supervision

PASSWORD = "geheim"
VERIFIER = make_verifier(Secret(PASSWORD))
NAME = "Exa 'ol"


def free_port(addresses: list[str]) -> int:
    """Find a port that is free on all addresses."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind((addresses[0], 0))
            port = first.getsockname()[1]
            try:
                for address in addresses[1:]:
                    stack.enter_context(socket.socket()).bind((address, port))
            except OSError:
                continue
            return port


class Rig:
    """Nodes below a directory of their own, and the master's view of them."""

    def __init__(self, installation: Path, user: str | None, nodes: tuple[int, ...] = (11, 12, 13)) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="odb-"))
        self.base.chmod(0o711)
        self.port = free_port([self.address(node) for node in nodes])
        self.conf_now = Conf(1, {})
        self.put(Global(cluster_name="test"))
        for node in nodes:
            disks = {"disk1": Disk(name="disk1", devices=("dev.1",))}
            self.put(Node(id=node, name=f"n{node}", private_net=f"{self.address(node)}/24", disks=disks))
        self.certificate = new_self_signed("rig", [self.address(node) for node in nodes])
        self.hosts = {node: self._host(node, installation, user) for node in nodes}
        self.cluster = LocalCluster(self)
        self.supervisions: list[Supervision] = []

    @staticmethod
    def address(node: int) -> str:
        # Away from the addresses of demo clusters.
        return f"127.0.77.{node}"

    def put(self, section: Any) -> None:
        """Add or replace a section."""
        self.conf_now = self.conf_now.with_changes({section.key: section}, self.conf_now.revision + 1)

    def volume(
        self, redundancy: int = 1, name: str = "DataVolume1", vid: int = 0, nodes: tuple[int, ...] = ()
    ) -> Volume:
        """Make a data volume with segments on nodes."""
        nodes = nodes or tuple(self.hosts)
        volume = Volume(
            name=name,
            type=VolumeType.DATA,
            size=Bytes(1 << 30),
            disk="disk1",
            nodes=nodes,
            redundancy=redundancy,
            id=vid,
        )
        self.put(volume)
        for node in nodes:
            place = self.hosts[node].path(f"/exa/data/storage/dev.1/segments/{vid}")
            place.mkdir(parents=True)
            for step in (place, *place.parents):
                if step.is_relative_to(self.hosts[node].root):
                    step.chmod(0o711)
        return volume

    def database(self, name: str = NAME, active: int = 0, **changes: Any) -> Database:
        """Configure a database on the volume."""
        nodes = tuple(self.hosts)
        settings: dict[str, Any] = {
            "name": name,
            "id": "x",
            "version": "18",
            "mem_size": Bytes(len(nodes) * 256 << 20),
            "nodes": nodes,
            "num_active_nodes": active or len(nodes),
            "data_volume": "DataVolume1",
            "port": self.port,
            "default_sys_passwd_hash": VERIFIER,
            "enable_auditing": False,
        }
        database = Database(**(settings | changes))
        self.put(database)
        return database

    @staticmethod
    def show(root: Path, pair: Pair) -> None:
        """Give a node the certificate that its clients see."""
        write_private(root / "etc/ssl/ssl.key", pair.key_pem)
        write_private(root / "etc/ssl/ssl.crt", pair.certificate_pem)
        (root / "etc").chmod(0o711)

    def define(self, name: str = NAME, volume: str = "DataVolume1") -> None:
        """Make the runtime record of a new database, as db_create does."""
        record = Record(next_generation=new_generation(), create_new=True, volume=volume)
        write_record(self.cluster, name, record)

    def supervise(self) -> Supervision:
        """Become master."""
        supervision = Supervision(self.cluster)
        supervision.start()
        self.supervisions.append(supervision)
        return supervision

    def layout(self, node: int, name: str = NAME) -> Layout:
        return layout(self.hosts[node], name)

    def data(self, node: int, name: str = NAME) -> Path:
        return data_place(self.hosts[node], self.conf_now.require_database(name)).data

    def keeper(self, node: int, name: str = NAME) -> KeeperClient:
        place = self.layout(node, name)
        return KeeperClient(place.state, place.keeper)

    def sql(
        self, node: int, statement: str, name: str = NAME, user: str = "sys", wait: int = 5, **more: Any
    ) -> list[tuple[Any, ...]]:
        """Run a statement as a client of a node."""
        with psycopg.connect(
            port=self.port,
            user=user,
            dbname=name,
            connect_timeout=wait,
            autocommit=True,
            **{"host": self.address(node), "password": PASSWORD} | more,
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def servers(self) -> list[int]:
        """Processes that work in any data directory of this rig, and keepers."""
        found = []
        for host in self.hosts.values():
            for data in host.root.glob("data/storage/*/segments/*/pgdata*"):
                found += processes_in(data)
        return found + self.keepers()

    def keepers(self) -> list[int]:
        return [int(entry.name) for entry in os.scandir("/proc") if self._is_keeper(entry.name)]

    def _is_keeper(self, pid: str) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return b"confd.services.database.keeper.keeper" in words and any(
            str(self.base).encode() in word for word in words
        )

    def close(self) -> None:
        """Leave nothing running."""
        for supervision in self.supervisions:
            supervision.close()
        for pid in self.keepers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for host in self.hosts.values():
            for data in host.root.glob("data/storage/*/segments/*/pgdata*"):
                clear(data, patience=1.0)

    def _host(self, node: int, installation: Path, user: str | None) -> Host:
        root, runtime = self.base / f"n{node}", self.base / f"r{node}"
        for place in (root, runtime):
            place.mkdir()
            place.chmod(0o711)
        self.show(root, self.certificate)
        return Host(node, self.address(node), root, runtime, user, (installation,), lambda: self.conf_now)


class LocalCluster:
    """Every node's operations run here; nodes can be declared offline."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.records: dict[str, Any] = {}
        self.offline: set[int] = set()
        self.leases: Leases = NoLeases()
        self.called: list[tuple[str, int]] = []
        self.submitted: list[tuple[str, dict[str, Any]]] = []
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    node = 0

    def conf(self) -> Conf:
        return self._rig.conf_now

    def record(self, key: str) -> Any:
        with self._lock:
            return msgspec.json.decode(self.records[key]) if key in self.records else None

    def put_record(self, key: str, value: Any) -> None:
        with self._lock:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = msgspec.json.encode(value)
        self.changed()

    def node_states(self) -> dict[int, NodeState]:
        return {node: self._state(node) for node in self._rig.hosts}

    def _state(self, node: int) -> NodeState:
        known = self._rig.conf_now.nodes.get(node)
        if known is not None and known.suspended:
            return NodeState.SUSPENDED
        return NodeState.OFFLINE if node in self.offline else NodeState.ONLINE

    def status(self, node: int, service: str) -> Any:
        return None if node in self.offline else reports(self._rig.hosts[node]).get(service)

    def call(self, command: Any, timeout: float = 60.0) -> Any:
        suspended = self._state(command.node) is NodeState.SUSPENDED and not command.name.startswith(EVEN_SUSPENDED)
        if command.node in self.offline or suspended:
            raise NodeOffline(f"n{command.node} does not answer")
        self.called.append((command.name, command.node))
        arguments = msgspec.json.decode(msgspec.json.encode(command.arguments))
        try:
            result = command.operation.run(self._rig.hosts[command.node], arguments)
        except ConfDError as error:
            raise error_from(error.code, error.message) from error
        return command.operation.result(msgspec.json.decode(msgspec.json.encode(result)))

    def submit(self, job: str, params: Mapping[str, Any]) -> Submission:
        """Note a job; its outcome stays open until the test gives one."""
        self.submitted.append((job, dict(params)))
        outcome: Future[Outcome] = Future()
        return Submission(f"11.{len(self.submitted)}", outcome)

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)

    def changed(self) -> None:
        for watcher in list(self._watchers):
            watcher()
