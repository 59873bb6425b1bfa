"""The lease of a node, by the store that it uses."""

from __future__ import annotations

from typing import Final

from confd.cluster.leases.etcd import EtcdLeases
from confd.cluster.leases.lease import Leases, NoLeases
from confd.store.choice import StoreChoice
from confd.store.etcd.client import EtcdClient

_PREFIX: Final = "leases/"


def open_leases(choice: StoreChoice, node: int) -> Leases:
    """Return the lease of a node; the embedded store has none.

    :raises EtcdDenied: the TLS files of the store cannot be used.
    """
    if choice.etcd is None:
        return NoLeases()
    return EtcdLeases(EtcdClient(choice.etcd), (choice.prefix + _PREFIX).encode(), node)
