"""One database server on its node: makes its data, writes its files, starts and stops it."""

from __future__ import annotations

import errno
import socket
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confd.cluster.host import Host
from confd.model.errors import NodeError, WrongState
from confd.model.secret import Secret
from confd.services.database.engine import configuration
from confd.services.database.engine.configuration import REPLICATION
from confd.services.database.engine.data import read_content, remove, write_owned
from confd.services.database.engine.files import environment, write_access, write_files
from confd.services.database.engine.layout import make_directory
from confd.services.database.engine.setup import Setup
from confd.services.database.keeper.client import KeeperClient
from confd.services.database.keeper.processes import postmaster_status, processes_in
from confd.services.database.observed import InstanceState, Role
from confd.services.database.record import Quorum
from confd.services.wal.preparing import prepare

if TYPE_CHECKING:
    from confd.services.database.engine.admin import Admin

_READY_WITHIN: Final = 45.0
_LOG_LINES: Final = 15


class Server(Setup):
    """The instance of a database on one node, as the node's configuration describes it."""

    def __init__(self, host: Host, database: str) -> None:
        super().__init__(host, database)
        self.keeper = KeeperClient(self.layout.state, self.layout.keeper)

    @cached_property
    def admin(self) -> Admin:
        """The daemon's own connection to the server."""
        # Loading psycopg takes 0.1 s and 10 MB: only where a database runs.
        from confd.services.database.engine.admin import Admin

        return Admin(self.layout.sockets, self.database.port)

    def start(self, role: Role, role_file: str, maintenance: bool, lease: str = "") -> InstanceState:
        """Write the configuration and start; return READY, or STARTING when recovery takes longer.

        :param lease: hold of the node's lease under which a primary was ordered.
        :raises NodeError: it does not start; with the last lines of its log.
        """
        content = read_content(self.place.data)
        if content is None or content.role is not role:
            raise WrongState(f"{self.place.data} holds no data that can be started as {role}")
        status = self.keeper.status()
        if status is None or not status.server:
            self._write_files(role_file, maintenance)
            self._check_ports()
            self.keeper.ensure(self.place.data, self.layout.log)
        self.bind(role, lease)
        return self._started(role, lease)

    def bind(self, role: Role, lease: str) -> None:
        """Have the keeper stop the server when the node's lease runs out, where instances are bound to leases.

        :param lease: hold under which it was ordered to take writes.
        :raises NodeError: the node holds its lease no longer, or anew.
        """
        leases = self.host.leases
        hold = leases.hold()
        if not leases.bound:
            self.keeper.release()
        elif hold is not None and (role is Role.STANDBY or hold.name == lease):
            self.keeper.hold(hold.name, hold.deadline)
        elif role is Role.PRIMARY:
            raise NodeError(
                f"{self.host.name} {'got its lease anew' if hold else 'has no lease'} since this was ordered"
            )

    def write_role(self, role_file: str) -> None:
        """Change what may change while the server runs."""
        write_owned(self.layout.config / "role.conf", role_file, self.layout.account)
        self.admin.reload()

    def write_access(self, maintenance: bool) -> None:
        """Let in, while the server runs, whom the present configuration lets in."""
        write_access(self, maintenance)
        self.admin.reload()

    def primary_file(self, quorum: Quorum) -> str:
        """Return the role file of a primary."""
        return configuration.primary_file(quorum)

    def standby_file(self, primary: int | None) -> str:
        """Return the role file of a follower of a node, or of nobody."""
        if primary is None:
            return configuration.DETACHED_FILE
        return configuration.standby_file(self.host.node, self.link(primary))

    def link(self, node: int) -> str:
        """Return how this instance connects to the one of another node, as libpq takes it."""
        address, certificate = self.host.conf().require_node(node).private_ip, self.certificate
        binds = certificate is not None and certificate.binds
        return configuration.link(address, self.database.port, self.passwords, certificate is not None, binds)

    def password(self) -> Secret:
        """Return the replication password, which every instance keeps beside its configuration."""
        return Secret(self.passwords.read_text().strip().rpartition(":")[2])

    def state(self) -> InstanceState:
        """Return what the instance does now."""
        status = self.keeper.status()
        if status and status.server:
            return _STATUS.get(postmaster_status(self.place.data, status.server), InstanceState.STARTING)
        if status and status.wanted:
            return InstanceState.CRASHED
        if not self.place.data.exists():
            return InstanceState.EMPTY
        return InstanceState.STOPPING if self.is_orphaned() else InstanceState.STOPPED

    def is_orphaned(self) -> bool:
        """Tell whether a server of this database works on the data without its keeper.

        Databases may share a volume as long as one of them runs: what works on another one's data is its own.
        """
        content = read_content(self.place.data)
        owned = content is None or content.marker.database in ("", self.database.name)
        return owned and bool(processes_in(self.place.data))

    @property
    def passwords(self) -> Path:
        """File with the password that standbys use."""
        return self.layout.config / "replication.pass"

    def write_password(self, password: Secret) -> None:
        """Keep the replication password beside the configuration."""
        write_owned(self.passwords, f"*:*:*:{REPLICATION}:{password.reveal()}\n", self.layout.account)

    def _write_files(self, role_file: str, maintenance: bool) -> None:
        write_files(self, role_file, maintenance)
        prepare(self.database, self.volume, self.layout, self.place)
        # A copied or older one would override what is written here.
        (self.place.data / "postgresql.auto.conf").unlink(missing_ok=True)
        write_owned(self.place.data / "postgresql.auto.conf", "", self.layout.account)
        self._link_temp()

    def _link_temp(self) -> None:
        make_directory(self.place.temp, self.layout.account)
        link = self.place.data / "base" / "pgsql_tmp"
        if not link.is_symlink():
            remove(link)
            link.symlink_to(self.place.temp)

    def _check_ports(self) -> None:
        for address in self.addresses():
            self._check_port(address, self.database.port)

    def _check_port(self, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError as error:
                reason = "is taken by another program" if error.errno == errno.EADDRINUSE else str(error)
                raise NodeError(
                    f"port {port} on {address} ({self.host.name}) {reason}: "
                    f"stop what uses it, or change the port of {self.database.name} with db_configure"
                ) from error

    def _started(self, role: Role, lease: str) -> InstanceState:
        account, log = self.layout.account, self.layout.log
        logged = log.stat().st_size if log.exists() else 0
        binary = self.choice().installation.tool("postgres")
        argv = [
            binary,
            "-D",
            str(self.place.data),
            "-c",
            f"config_file={self.layout.config / 'postgresql.conf'}",
        ]
        status = self.keeper.start(
            argv, environment(self), account.uid, account.gid, _READY_WITHIN,
            writable=role is Role.PRIMARY, lease=lease,
        )  # fmt: skip
        if status is None:
            return InstanceState.STARTING
        if status.ready:
            return InstanceState.READY
        self.keeper.leave("immediate", 5.0)
        raise NodeError(
            f"the database server of {self.database.name} does not start on {self.host.name}:\n{_tail(log, logged)}"
        )


_STATUS: Final = {
    "ready": InstanceState.READY,
    "standby": InstanceState.STARTING,
    "starting": InstanceState.STARTING,
    "stopping": InstanceState.STOPPING,
}


def _tail(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(min(offset, log.stat().st_size))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
