"""Keytabs for nodes that come to a database late: added, or given its data, or away when it was configured."""

from __future__ import annotations

from contextlib import suppress

import structlog

from confd.cluster.host import Cluster
from confd.model.errors import AlreadyExists, ConfDError
from confd.services.database.engine.keytab import REPORT, read_keytab, write_keytab

_log = structlog.get_logger()


def give_keytab(cluster: Cluster, database: str, node: int) -> None:
    """Have a node, which is about to start an instance, have the keytab of its database, if there is one.

    One that is there stays: an administrator may have replaced it.

    :raises ConfDError: it cannot be written.
    """
    conf = cluster.conf()
    section = conf.require_database(database)
    # Others may have one of a deleted database of this name.
    own = dict.fromkeys((*section.nodes, *conf.require_volume(section.data_volume).nodes))
    if reports_keytab(cluster, node, database):
        return
    for holder in (one for one in own if one != node and reports_keytab(cluster, one, database)):
        try:
            sealed = cluster.call(read_keytab.on(holder, database))
        except ConfDError as error:
            _log.warning("keytab_not_read", database=database, node=holder, error=error.message)
            continue
        if sealed:
            with suppress(AlreadyExists):
                cluster.call(write_keytab.on(node, database=database, keytab=sealed))
            _log.info("keytab_given", database=database, node=node, source=holder)
            return


def reports_keytab(cluster: Cluster, node: int, database: str) -> bool:
    """Tell whether a node said last that it has the keytab of a database."""
    return database in (cluster.status(node, REPORT) or ())
