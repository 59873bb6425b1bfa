"""Node operations when an instance comes to a node, or leaves it, while the database runs."""

from __future__ import annotations

from confd.cluster.host import Host
from confd.cluster.operations import operation
from confd.services.database.engine.layout import DataPlace, layout
from confd.services.database.engine.server import Server
from confd.services.database.engine.workshop import Workshop, interrupt
from confd.services.database.instance.operations import end_instance
from confd.services.database.keeper.processes import clear
from confd.services.database.observed import InstanceState
from confd.services.storage.segments import delete_segment, segment_of


@operation("database.open_access")
def open_access(host: Host, database: str, maintenance: bool = False) -> None:
    """Let in whom the configuration lets in now; a server that does not run does so when it starts."""
    server = Server(host, database)
    if server.state() is InstanceState.READY:
        server.write_access(maintenance)


@operation("database.drop_copy")
def drop_copy(host: Host, database: str, vid: int, devices: list[str], maker: str | None = None) -> None:
    """Stop the instance, end a copy in the making, and destroy the segment with all it holds.

    :param maker: take only a segment that this job made.
    """
    end_instance(host, database)
    if (segment := segment_of(host, vid, devices)) is None:
        delete_segment.function(host, vid, devices, maker)
        return
    place = DataPlace(segment)
    clear(place.data)
    interrupt(place)
    # Held until the files are gone: who made a copy here must not go on in between.
    with Workshop(place, layout(host, database).account).alone():
        delete_segment.function(host, vid, devices, maker)


@operation("database.dismiss")
def dismiss(host: Host, database: str, standby: int) -> None:
    """Have the primary keep no more WAL for a node that left."""
    Server(host, database).admin.drop_slot(standby)
