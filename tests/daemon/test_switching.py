"""A node notices that the cluster uses another store than it does, however often it moved while the node was away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from confd.cluster.host import Host
from confd.daemon.switching import Switch
from confd.exaconf import Conf
from confd.services.etcd.members import know_endpoints
from confd.services.etcd.plan import save_choice
from confd.services.nodes.stores import RECORD, Moved, adopt
from confd.store.choice import StoreChoice, StoreKind, load_choice
from confd.store.etcd.access import EtcdAccess
from confd.store.protocol import Kind
from confd.store.sqlite import SqliteStore

SQLITE = StoreChoice(move="11.1")
BEGUN = StoreChoice(kind=StoreKind.ETCD, etcd=EtcdAccess(endpoints=("http://127.0.0.1:1",)))
FIRST = msgspec.structs.replace(BEGUN, move="11.2")
AGAIN = msgspec.structs.replace(BEGUN, move="11.9")
OTHER = StoreChoice(kind=StoreKind.ETCD, etcd=EtcdAccess(endpoints=("http://127.0.0.1:2",)), move="11.9")
OTHER_PREFIX = msgspec.structs.replace(AGAIN, prefix="/other/")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Give a node."""
    return Host(11, "127.0.0.1", tmp_path, tmp_path / "run", None, (), lambda: Conf(0, {}))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Give its journal."""
    made = SqliteStore(tmp_path / "journal.db")
    made.lead(1, 11)
    yield made
    made.close()


def switches(host: Host, store: SqliteStore) -> bool:
    """Tell whether the node, started with what its file says, starts anew because of what its journal says."""
    restarts: list[str] = []

    async def check() -> bool:
        switch = Switch(
            store, load_choice(host.root), lambda moved: adopt(host, moved), lambda: False,
            lambda: restarts.append("anew"),
        )  # fmt: skip
        return switch.check()

    return asyncio.run(check()) and restarts == ["anew"]


@pytest.mark.parametrize("before", [SQLITE, BEGUN, FIRST])
@pytest.mark.parametrize("now", [OTHER, OTHER_PREFIX, AGAIN, StoreChoice(move="11.9")])
def test_a_node_adopts_the_store_that_the_journal_names(
    host: Host, store: SqliteStore, before: StoreChoice, now: StoreChoice
) -> None:
    """Once; also one of the same kind as the node's own, and one that the cluster left meanwhile and came back to."""
    save_choice(host.root, before)
    assert not switches(host, store)
    store.append(Kind.RUNTIME, RECORD, Moved(now, "")).result()
    assert switches(host, store)
    assert load_choice(host.root) == now
    assert not switches(host, store)


def test_members_that_change_are_no_other_store(host: Host, store: SqliteStore) -> None:
    """The record names those of the move; a node's file has those of now."""
    store.append(Kind.RUNTIME, RECORD, Moved(FIRST, "")).result()
    assert switches(host, store)
    know_endpoints.function(host, ("http://127.0.0.1:1", "http://127.0.0.2:1"), 1)
    access = load_choice(host.root).etcd
    assert access is not None
    assert len(access.endpoints) == 2
    assert not switches(host, store)
