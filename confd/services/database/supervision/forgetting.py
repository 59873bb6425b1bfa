"""A database forgets nodes that left the cluster for good."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.model.errors import ConfDError
from confd.services.database.instance.departure import dismiss
from confd.services.database.planning.quorum import without
from confd.services.database.record import Record, Wanted
from confd.services.database.supervision.supervision import Supervision
from confd.services.nodes.removal import without_node


@master_operation("database.forget_node")
def forget_node(master: Master, database: str, left: int) -> None:
    """Have a database count on a node no longer that does not come back; fine when it is deleted meanwhile.

    A running one changes its quorum by itself; of a stopped one the record alone says what is relied on.
    """
    if database not in master.cluster.conf().databases:
        return
    supervision = master.service(Supervision)
    record = supervision.change(database, lambda record: _forgotten(record, left))
    if record.primary is not None and record.wanted is Wanted.RUNNING:
        # What is kept in vain is limited by max_slot_wal_keep_size, so this need not succeed.
        with suppress(ConfDError):
            master.cluster.call(dismiss.on(record.primary, database, left))


def _forgotten(record: Record, node: int) -> Record:
    forgotten = without_node(record, [node])
    if record.wanted is Wanted.RUNNING:
        return forgotten
    return msgspec.structs.replace(forgotten, quorum=without(record.quorum, node))
