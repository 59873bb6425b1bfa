"""A stage for jobs whose nodes run real database servers under a real supervision."""

from __future__ import annotations

from typing import Any

import msgspec

from confd.cluster.host import Host
from confd.cluster.operations import MASTER, Command
from confd.exaconf import Conf, Section
from confd.model.secret import Vault
from confd.model.states import NodeState
from confd.services.database.record import Wanted
from confd.services.database.supervision.supervision import Supervision
from confd.services.nodes.attendance import Attendance
from confd.services.nodes.stores import Moving
from confd.services.storage.devices import NewDevice, add_device
from confd.store.choice import StoreKind
from tests.jobs.stage import GIB, Stage, sections
from tests.services.database.rig import NAME, Rig


class Live(Stage):
    """Jobs act on the nodes of a rig, through the same view of the cluster as its supervision."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.root, self.capacity, self.nodes = rig.base, GIB, tuple(rig.hosts)
        self.services: dict[type[Any], Any] = {Vault: Vault(Vault.new_key())}
        self.store, self.jobs = None, 0
        for section in sections(nodes=()).values():
            rig.put(section)
        for node in self.nodes:
            device = NewDevice(name="dev.1", disk="disk1", uuid=f"u{node}", sectors=2 * GIB // 4096)
            add_device.function(rig.hosts[node], device)
        self.supervision = self.services[Supervision] = rig.supervise()
        cluster: Any = rig.cluster
        self.services[Attendance] = Attendance(cluster)
        self.services[Moving] = Moving(StoreKind.SQLITE, "", lambda *_: None)

    @property
    def node(self) -> int:
        """The node that is master: the last one."""
        return self.nodes[-1]

    @property
    def conf(self) -> Conf:  # type: ignore[override]
        """The rig's configuration."""
        return self.rig.conf_now

    @conf.setter
    def conf(self, conf: Conf) -> None:
        self.rig.conf_now = conf
        self.rig.cluster.changed()

    @property
    def records(self) -> dict[str, Any]:  # type: ignore[override]
        """The rig's runtime records."""
        return {key: msgspec.json.decode(value) for key, value in self.rig.cluster.records.items()}

    @records.setter
    def records(self, records: dict[str, Any]) -> None:
        # Only what the job changed; the supervision writes the records of databases meanwhile.
        for key, value in records.items():
            if not key.startswith("database/"):
                self.rig.cluster.put_record(key, value)

    @property
    def states(self) -> dict[int, NodeState]:  # type: ignore[override]
        """States of the nodes."""
        return self.rig.cluster.node_states()

    def host(self, node: int) -> Host:
        """Return the machine of a node."""
        return self.rig.hosts[node]

    def put(self, *changed: Section) -> None:
        """Change the configuration without a job."""
        for section in changed:
            self.rig.put(section)

    def call(self, command: Command[Any], timeout: float = 60.0) -> Any:
        """Run a command on its node or on the master."""
        if command.node == MASTER:
            return self._travel(command, LiveMaster(self))
        return self.rig.cluster.call(command, timeout)

    def running_database(self, redundancy: int, *nodes: int, active: int = 0, **changes: Any) -> None:
        """Make a volume by job, and start a database on it."""
        masters = active or len(nodes)
        self.run(
            "st_volume_create", name="DataVolume1", type="data", disk="disk1", size="512 MiB", nodes=list(nodes),
            redundancy=redundancy, num_master_nodes=masters,
        )  # fmt: skip
        self.rig.database(nodes=nodes[:masters], active=masters, **changes)
        self.rig.define()
        self.supervision.want(NAME, Wanted.RUNNING)


class LiveMaster:
    """Where master operations run."""

    canceled = False

    def __init__(self, stage: Live) -> None:
        self.cluster = stage.rig.cluster
        self.service = stage.services.__getitem__

    def say(self, line: str) -> None:
        """Nobody reads it."""
