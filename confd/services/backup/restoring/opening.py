"""Opens a backup for reading beside a database's data: an instance of its own, a standby that follows nobody."""

from __future__ import annotations

import shutil
from typing import Final

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.services.backup.order import VirtualOrder
from confd.services.backup.restoring.operations import Restore, make, registered
from confd.services.database.engine.data import read_content, remove, write_owned
from confd.services.database.engine.layout import DataPlace, layout, make_directory
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop
from confd.services.database.keeper.client import KeeperClient
from confd.services.database.keeper.processes import clear
from confd.services.database.observed import InstanceState, Role

_ROLE: Final = "primary_conninfo = ''\nprimary_slot_name = ''\nsynchronous_standby_names = ''\n"
_PATIENCE: Final = 60.0


class VirtualServer(Server):
    """The instance that is open in place of the database's own, with files, keeper and sockets apart from them."""

    def __init__(self, host: Host, database: str) -> None:
        super().__init__(host, database)
        # No database has a dot in its name.
        self.layout = layout(host, f"{database}.virtual")
        self.place = DataPlace(self.place.segment / "virtual")
        self.keeper = KeeperClient(self.layout.state, self.layout.keeper)


@operation("backup.open_virtual")
def open_virtual(host: Host, database: str, virtual: VirtualOrder) -> InstanceState:
    """Fetch a backup and open it for reading; what is fetched already is opened as it is.

    :raises StorageCorrupted: a file of the chain is damaged.
    :raises Canceled: by ``cancel_restore``, now or before.
    """
    server = VirtualServer(host, database)
    server.layout.make()
    make_directory(server.place.segment, None, 0o711)
    content = read_content(server.place.data)
    if content is None or content.marker.generation != virtual.generation:
        workshop = Workshop(server.place, server.layout.account)
        work = Restore(virtual.order, virtual.generation, workshop)
        with registered(host, database, work), workshop.alone():
            work.ticker.check()
            make(server, workshop, virtual.order, virtual.generation, work.ticker)
            # Recovery that never ends is what nobody can write into.
            write_owned(workshop.place.unfinished / "standby.signal", "", server.layout.account)
            workshop.exchange()
            workshop.clear()
    return server.start(Role.STANDBY, _ROLE, maintenance=False)


@operation("backup.observe_virtual")
def observe_virtual(host: Host, database: str) -> InstanceState:
    """Return what the instance that was opened from a backup does; EMPTY when nothing is left of it."""
    server = VirtualServer(host, database)
    state = server.state()
    left = server.place.segment.exists() or server.layout.state.exists()
    return InstanceState.STOPPED if state is InstanceState.EMPTY and left else state


@operation("backup.close_virtual")
def close_virtual(host: Host, database: str) -> None:
    """Stop the instance that was opened from a backup and remove it; fine when there is none."""
    server = VirtualServer(host, database)
    server.keeper.leave("fast", _PATIENCE)
    clear(server.place.data)
    remove(server.place.data)
    for directory in (server.place.segment, server.layout.config, server.layout.sockets, server.layout.state):
        shutil.rmtree(directory, ignore_errors=True)
