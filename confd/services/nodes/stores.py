"""Which store the cluster uses, and how it moves from one to the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from confd.cluster.host import Host, Master
from confd.cluster.identity import NodeFiles, write_private
from confd.cluster.operations import master_operation, operation
from confd.model.errors import NodeError
from confd.services.etcd.plan import Access, drop_access, is_own, keep_access, nearest_first
from confd.store.choice import StoreChoice, StoreKind, encode_choice, load_choice
from confd.store.etcd.authority import Authority
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.errors import EtcdError, EtcdFull
from confd.store.etcd.keys import Keys
from confd.store.protocol import StoreFailed

RECORD: Final = "cluster/store"
"""Runtime record: ``Moved``. It is the switch: before it the old store counts, from it on the new one."""

FAILED: Final = "cluster/store_not_moved"
"""Runtime record: why the last move was given up, and by which job."""

NO_ROOM: Final = (
    "etcd is out of space (alarm NOSPACE): have its administrator make room (etcdctl compact, etcdctl defrag, "
    "etcdctl alarm disarm)"
)
"""Why the cluster does not move into an etcd that it does not use yet, so that c4 store compact is of no use."""

_VIEW: Final = "/exa/"
_PROBE_SECONDS: Final = 3.0
_LEASE_SECONDS: Final = 5


class Moved(msgspec.Struct, frozen=True):
    """The store of the cluster; paths in it are the node's view. ``verified`` says what both stores held.

    ``sealed`` is how nodes are let into members of their own (``Access``), also those that were away: nothing when
    etcd is another's.
    """

    choice: StoreChoice
    verified: str
    sealed: str = ""


class Moving:
    """The sitting master's way into another store; made by the daemon.

    :param kind: the store of now.
    :param mark: tells the cluster's keys in etcd from others.
    :param move: moves into a store, with sealed access to it, for a job (its id); raises, for the master itself never
        goes on after it.
    """

    def __init__(self, kind: StoreKind, mark: str, move: Callable[[StoreChoice, str, str], None]) -> None:
        self.kind, self.mark, self.move = kind, mark, move


@operation("nodes.probe_store")
def probe_store(host: Host, choice: StoreChoice, cluster: str) -> None:
    """Find out whether a node reaches etcd, and etcd takes changes.

    :raises NodeError: says why it does not.
    """
    local = resolve(choice, host.path)
    if local.etcd is None:
        return
    try:
        client = EtcdClient(local.etcd)
        try:
            Authority(client, Keys(local.prefix), cluster).read_head(_PROBE_SECONDS)
            # The first thing that a node needs, and without a trace.
            lease, _ = client.lease_grant(_LEASE_SECONDS, _PROBE_SECONDS)
            client.lease_revoke(lease, _PROBE_SECONDS)
        finally:
            client.close()
    except (EtcdError, StoreFailed, ValueError) as error:
        why = NO_ROOM if isinstance(error, EtcdFull) else error
        raise NodeError(f"{host.name} cannot use this store: {why}") from None


@master_operation("nodes.move_store", planned=lambda choice, job, sealed: "")
def move_store(master: Master, choice: StoreChoice, job: str, sealed: str) -> str:
    """Move the cluster into a store; ends there, when it does: with what was verified.

    The job that asks goes on under the next master, which runs this again and finds itself in that store.

    :raises NodeError: it was tried for this job and given up; nothing has changed.
    """
    moving = master.service(Moving)
    if moving.kind is choice.kind:
        told = master.cluster.record(RECORD)
        return str(told["verified"]) if told else ""
    failed = master.cluster.record(FAILED)
    if failed and failed["job"] == job:
        raise NodeError(f"the store was not moved, nothing has changed: {failed['reason']}")
    moving.move(choice, sealed, job)
    return ""


def moved_on(runtime: dict[str, Any], present: StoreChoice) -> Moved | None:
    """Return the store that the cluster moved to, as the runtime records name it; None when a node uses that one.

    A node that was away may have missed several moves: the same kind of store is not the same store.
    """
    told = runtime.get(RECORD)
    moved = None if told is None else msgspec.convert(told, Moved)
    return None if moved is None or moved.choice.is_same(present) else moved


def adopt(host: Host, moved: Moved) -> None:
    """Have a node use a store from its next start on, with everything that it needs there and nothing of before."""
    files, before, choice = NodeFiles(host.root), load_choice(host.root), resolve(moved.choice, host.path)
    if moved.sealed and choice.etcd is not None:
        access = msgspec.json.decode(files.vault().open(moved.sealed).reveal(), type=Access)
        keep_access(host.root, access)
        endpoints = nearest_first(choice.etcd.endpoints, host.address, access.port)
        choice = msgspec.structs.replace(choice, etcd=msgspec.structs.replace(choice.etcd, endpoints=endpoints))
    write_private(files.store, encode_choice(choice))
    if is_own(host.root, before) and not is_own(host.root, choice):
        drop_access(host.root)


def resolve(choice: StoreChoice, path: Callable[[str], Path]) -> StoreChoice:
    """Return a choice with the real paths of one node."""
    if choice.etcd is None:
        return choice
    files = {
        name: str(path(value))
        for name in ("ca", "certificate", "key", "password_file")
        if (value := getattr(choice.etcd, name)) is not None and value.startswith(_VIEW)
    }
    return msgspec.structs.replace(choice, etcd=msgspec.structs.replace(choice.etcd, **files))
