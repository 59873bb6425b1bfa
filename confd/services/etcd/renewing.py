"""Shutting out of the cluster's own etcd who was removed."""

from __future__ import annotations

from confd.cluster.host import Master
from confd.cluster.operations import master_operation
from confd.model.states import NodeState
from confd.services.etcd.members import RECORD
from confd.services.etcd.passwords import change_password, give_passwords, new_password


@master_operation("etcd.renew_password")
def renew_password(master: Master) -> None:
    """Have etcd take a password that only the nodes of now know; repeated, it makes one more.

    :raises ConfDError: a node that is online, or etcd, did not do its part; all nodes get in as before.
    """
    cluster = master.cluster
    if cluster.record(RECORD) is None:
        return
    sealed = cluster.call(new_password.on(cluster.node))
    for node, state in sorted(cluster.node_states().items()):
        if state is NodeState.ONLINE:
            cluster.call(give_passwords.on(node, sealed=sealed))
    cluster.call(change_password.on(cluster.node))
