"""Which store and which elections a node has: the only place that knows both kinds."""

from __future__ import annotations

from collections.abc import Callable

from confd import __version__
from confd.cluster.following.follower import Follower
from confd.cluster.identity import Identity, NodeFiles
from confd.cluster.transport.nodeport import Connector
from confd.daemon.belonging import is_retired
from confd.daemon.bootstrap import bootstrap
from confd.daemon.candidacy import Candidacy
from confd.daemon.elections import Elections, Seat
from confd.daemon.recovering import Recovery
from confd.daemon.succession import Succession
from confd.exaconf import Conf
from confd.model.secret import Vault
from confd.services.nodes.naming import RETIRED
from confd.store.choice import StoreChoice
from confd.store.etcd.authority import Authority
from confd.store.etcd.candidate import Candidate
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.keys import Keys
from confd.store.etcd.store import EtcdStore
from confd.store.sqlite import SqliteStore


def open_store(choice: StoreChoice, files: NodeFiles, vault: Vault, failed: Callable[[Exception], None]) -> SqliteStore:
    """Open a node's store."""
    files.journal.parent.mkdir(parents=True, exist_ok=True)
    if choice.etcd is None:
        return SqliteStore(files.journal, failed)
    return EtcdStore(files.journal, authority(choice, vault), failed)


def authority(choice: StoreChoice, vault: Vault) -> Authority:
    """Return what etcd holds of this cluster."""
    assert choice.etcd is not None
    return Authority(EtcdClient(choice.etcd), Keys(choice.prefix), cluster_mark(vault))


def cluster_mark(vault: Vault) -> str:
    """Return what tells this cluster's keys in etcd from another's; the same on all nodes."""
    return vault.derive("store").hex()[:32]


def open_elections(
    store: SqliteStore, choice: StoreChoice, files: NodeFiles, identity: Identity, vault: Vault,
    follower: Follower, connector: Connector, conf: Callable[[], Conf], seat: Seat,
) -> Elections:  # fmt: skip
    """Return how this node becomes master."""

    def first() -> None:
        bootstrap(store, identity, vault)

    node = identity.node
    if choice.etcd is None or not isinstance(store, EtcdStore):
        return Succession(node, store, follower, connector, conf, seat, first=first)
    keys, client = Keys(choice.prefix), EtcdClient(choice.etcd)

    def first_in_etcd() -> None:
        # A cluster that etcd knows is never made a second time, whatever this node has lost.
        if store.authority.read_head()[1].revision == 0:
            first()

    def retired() -> bool:
        return is_retired(store.authority.record(RETIRED), identity.uuid)

    def candidate(candidacy: Candidacy) -> Candidate:
        return Candidate(client, keys, node, candidacy, __version__)

    recovery = Recovery(node, files.root, store, connector, conf)
    return Candidacy(node, store, follower, connector, conf, seat, first_in_etcd, candidate, recovery, retired, choice)
