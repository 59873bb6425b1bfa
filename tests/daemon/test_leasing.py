"""Which lease a node has follows from its store."""

from __future__ import annotations

from confd.cluster.leases.etcd import EtcdLeases
from confd.cluster.leases.lease import NoLeases
from confd.daemon.leasing import open_leases
from confd.store.choice import StoreChoice, StoreKind
from confd.store.etcd.access import EtcdAccess


def test_lease_follows_from_the_store() -> None:
    """The embedded store has none; in etcd it lies below what all keys of the cluster begin with."""
    assert isinstance(open_leases(StoreChoice(), 11), NoLeases)
    access = EtcdAccess(endpoints=("http://127.0.0.1:1",))
    leases = open_leases(StoreChoice(kind=StoreKind.ETCD, etcd=access, prefix="/x/"), 11)
    assert isinstance(leases, EtcdLeases)
    assert leases._key("held") == b"/x/leases/held/11"
    assert leases.hold() is None
