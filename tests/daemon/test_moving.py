"""What a move does that comes to nothing: the old store goes on, and the reason is recorded for the job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from confd.cluster.host import Host
from confd.daemon.moving import Mover
from confd.exaconf import Conf
from confd.model.errors import NodeError, NoMaster
from confd.services.nodes.stores import FAILED, RECORD, probe_store
from confd.store.choice import StoreChoice, StoreKind
from confd.store.etcd.access import EtcdAccess
from confd.store.etcd.authority import Authority
from confd.store.etcd.client import EtcdClient
from confd.store.etcd.keys import Keys
from confd.store.protocol import Kind
from confd.store.sqlite import SqliteStore
from tests.servers import Etcd
from tests.store.etcd.conftest import full_etcd, server  # noqa: F401 - a fixture

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def full() -> Iterator[Etcd]:
    """Give an etcd without room."""
    with full_etcd(b"/others/big") as (running, _):
        yield running


def choice_of(running: Etcd) -> StoreChoice:
    """Return it as the store of a node."""
    return StoreChoice(kind=StoreKind.ETCD, etcd=EtcdAccess(endpoints=(running.url,)))


class Sitting:
    """A master without jobs or followers, and the daemon where it sits."""

    def __init__(self, term: int) -> None:
        self.term = term
        self.mastership = self.scheduler = self.gate = self.leader = self
        self.leads_again = asyncio.Event()

    def close(self) -> None:
        """Let no job begin."""

    def wait_idle(self, seconds: float, but: str) -> Sequence[str]:
        """Have no jobs."""
        return ()

    def progress(self) -> dict[int, int]:
        """Have no followers."""
        return {}

    async def retire(self) -> None:
        """Order nothing more."""

    async def leave(self) -> None:
        """Be master no longer."""

    async def lead(self, term: int) -> None:
        """Lead on."""
        assert term == self.term
        self.leads_again.set()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Give the store of a master."""
    made = SqliteStore(tmp_path / "journal.db")
    made.lead(1, 11)
    made.append(Kind.RUNTIME, "k", 1).result()
    yield made
    made.close()


def move(store: SqliteStore, into: Etcd, job: str) -> bool:
    """Move into an etcd for a job; whether the cluster has moved then, and not gone back."""

    def authority(choice: StoreChoice) -> Authority:
        assert choice.etcd is not None
        return Authority(EtcdClient(choice.etcd), Keys(choice.prefix), "c")

    async def moved() -> bool:
        sitting, ended = Sitting(1), asyncio.Event()
        seat: Any = sitting
        mover = Mover(11, store, seat, authority, Path, ended.set)
        with pytest.raises(NoMaster):
            await asyncio.to_thread(mover.move, choice_of(into), "", job)
        waiting = [asyncio.ensure_future(event.wait()) for event in (ended, sitting.leads_again)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        return ended.is_set()

    return asyncio.run(moved())


def test_a_move_is_told_from_others_by_its_job(server: Etcd, store: SqliteStore) -> None:  # noqa: F811 - the fixture
    """The record that is the switch names it; both stores hold that record then."""
    assert move(store, server, "11.1")
    assert store.runtime()[RECORD]["choice"]["move"] == "11.1"
    client = EtcdClient(EtcdAccess(endpoints=(server.url,)))
    assert Authority(client, Keys(), "c").record(RECORD) == store.runtime()[RECORD]
    client.close()


def test_an_etcd_that_is_full_is_left_alone(full: Etcd, store: SqliteStore) -> None:
    """The master leads on in the store of before, and nothing waits for room in another one."""
    assert not move(store, full, "11.1")
    failed = store.runtime()[FAILED]
    assert (failed["job"], "out of space" in failed["reason"], "etcdctl" in failed["reason"]) == ("11.1", True, True)
    assert RECORD not in store.runtime()
    assert store.append(Kind.RUNTIME, "on", 1).result().term == 1


def test_a_full_etcd_is_refused_before_a_move(full: Etcd, tmp_path: Path) -> None:
    """With what its administrator does, for ours uses another store; one with room is taken, and nothing stays in it."""
    host = Host(11, "127.0.0.1", tmp_path, tmp_path / "run", None, (), lambda: Conf(0, {}))
    with pytest.raises(NodeError, match=r"n11 cannot use this store: etcd is out of space .*etcdctl compact"):
        probe_store.function(host, choice_of(full), "c")
    client = EtcdClient(EtcdAccess(endpoints=(full.url,)))
    client.delete(b"/others/", b"/others0")
    client.compact(client.range(b"\0", limit=1)[1])
    client.defragment(0)
    client.disarm()
    probe_store.function(host, choice_of(full), "c")
    assert client.range(b"\0", b"\0")[0] == []
    client.close()
