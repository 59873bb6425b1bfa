"""A master and its nodes, over real TLS on loopback, within one process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from confd import __version__
from confd.cluster.certificates import Pair
from confd.cluster.following.agent import Agent, Results
from confd.cluster.following.follower import Follower
from confd.cluster.following.replica import Replica
from confd.cluster.host import Host
from confd.cluster.identity import NodeFiles
from confd.cluster.leading.leader import Leader
from confd.cluster.leading.member import TROUBLE, Timing
from confd.cluster.operations import operation
from confd.cluster.transport.nodeport import Connector, NodePort
from confd.exaconf import Conf, Global, Group, Node, Section, to_stored
from confd.model.errors import Conflict, NodeOffline, NoMaster, NoQuorum, StorageWrite, WrongState
from confd.model.secret import Vault
from confd.model.states import NodeState
from confd.store.protocol import JobQuery, Kind, Position, Retention, Store
from confd.store.records import Finished, ReadJob
from confd.store.sqlite import SqliteStore
from tests.nodes.conftest import KEY, run, until

Files = Callable[..., NodeFiles]
NODES = (11, 12, 13)
QUICK = Timing(beat=0.05, offline=1.5, written=1.0)
GATE = threading.Event()
RUNS: list[tuple[int, str]] = []


@operation("leader_test.note")
def note(host: Host, word: str, wait: bool = False) -> str:
    """Note where it ran."""
    RUNS.append((host.node, word))
    if wait:
        assert GATE.wait(20)
    if word == "bad":
        raise StorageWrite("no")
    return f"{word} on {host.name}"


def free_net() -> tuple[str, int]:
    """Return loopback addresses and a port that is free on all of them."""
    dice = random.Random(os.getpid() * 7919 + time.monotonic_ns())
    while True:
        net, port = f"127.{dice.randrange(64, 250)}.{dice.randrange(1, 250)}", dice.randrange(20_000, 60_000)
        with contextlib.suppress(OSError):
            for node in NODES:
                with socket.socket() as probe:
                    probe.bind((f"{net}.{node}", port))
            return net, port


class Member:
    """A node that follows."""

    def __init__(self, cluster: Cluster, node: int) -> None:
        self.cluster, self.node = cluster, node
        self.files = cluster.files(f"u{node}")
        self.stop: Callable[[], None] = lambda: None

    async def start(self, address: str | None = None) -> None:
        """Open its port."""
        vault = self.cluster.vault
        self.store = SqliteStore(self.files.journal)
        self.replica = Replica(self.store, self.files, vault)
        self.agent = Agent(Results(self.files.results))
        root = self.files.root
        self.host = Host(self.node, "", root, root, None, (), lambda: Conf(0, {}))
        self.follower = Follower(self.host, self.store, self.replica, self.agent, 123.0, write_seconds=5.0)
        self.port = NodePort(self.follower.methods, lambda uuid: True)
        at = address or f"{self.cluster.net}.{self.node}"
        await self.port.start(at, self.cluster.port, self.files.server_tls())

    async def close(self) -> None:
        """Be gone."""
        await self.port.close()
        await asyncio.to_thread(self.agent._pool.shutdown, True)
        self.agent.close()
        await asyncio.to_thread(self.replica.close)
        await asyncio.to_thread(self.store.close)


class Cluster:
    """Node 11 leads 12 and 13."""

    def __init__(self, files: Files) -> None:
        self.files, self.vault = files, Vault(KEY)
        self.net, self.port = free_net()
        self.members = {node: Member(self, node) for node in NODES[1:]}
        self.running: set[int] = set()

    async def lead(self, term: int = 1, name: str = "u11", timing: Timing = QUICK) -> None:
        """Make a master."""
        files = NodeFiles(Path(self._own(name)))
        self.store = SqliteStore(files.journal)
        self.store.lead(term, 11)
        if not self.store.sections()[0]:
            self.put(
                1,
                Global(cluster_name="x", cored_port=self.port),
                *(Node(id=n, name=f"n{n}", private_net=f"{self.net}.{n}/8", uuid=f"u{n}") for n in NODES),
            )
        self.replica = Replica(self.store, files, self.vault)
        self.connector = Connector(files.client_tls(), {})
        self.leader = Leader(11, term, self.store, self.replica, self.connector, timing)

    def _own(self, name: str) -> Path:
        return self.files(name).root

    def put(self, revision: int, *sections: Section) -> None:
        """Record a revision."""
        changes = {section.key: to_stored(section, self.vault) for section in sections}
        self.store.append(Kind.FINISHED, "11.1", Finished(0, "", revision=revision, changes=changes)).result()

    async def up(self, node: int) -> Member:
        """Start a node."""
        await self.members[node].start()
        self.running.add(node)
        return self.members[node]

    async def down(self, node: int) -> None:
        """Stop a node."""
        self.running.discard(node)
        await self.members[node].close()

    async def same(self, *nodes: int) -> None:
        """Wait until nodes hold the master's whole journal and configuration."""
        for node in nodes:
            member = self.members[node]
            await until(lambda member=member: member.store.head() == self.store.head())
            await until(lambda member=member: member.replica.written == self.replica.conf.revision)
            assert records(member.store) == records(self.store)
            assert member.files.exaconf.read_text() == self.replica.text()

    async def state(self, node: int, state: NodeState) -> None:
        """Wait until the master knows a node in a state."""
        await until(lambda: self.leader.states()[node] is state)

    async def step_down(self) -> None:
        """End the master."""
        await self.leader.close()
        await self.connector.close()
        await asyncio.to_thread(self.replica.close)
        await asyncio.to_thread(self.store.close)


def records(store: Store) -> list[Any]:
    """Return all records of a store."""
    return [(r.term, r.n, r.kind, r.key, bytes(r.body)) for r in store.read(Position(), 100_000)]


@contextlib.asynccontextmanager
async def cluster_of(files: Files, *nodes: int, lead: bool = True) -> AsyncIterator[Cluster]:
    """Give a master with running nodes."""
    cluster = Cluster(files)
    try:
        for node in nodes:
            await cluster.up(node)
        if lead:
            await cluster.lead()
        yield cluster
    finally:
        GATE.set()
        if hasattr(cluster, "leader"):
            await cluster.step_down()
        for node in list(cluster.running):
            await cluster.down(node)


@pytest.fixture
def files(tmp_path: Path, authority: Pair, node_files: Files) -> Files:
    """Give directories of nodes, the same again for the same name."""
    GATE.clear()
    RUNS.clear()
    known: dict[str, NodeFiles] = {}

    def of(name: str) -> NodeFiles:
        if name not in known:
            known[name] = node_files(name)
        return known[name]

    return of


def test_nodes_follow_their_master(files: Files) -> None:
    """Records and EXAConf are the same everywhere, and ``written`` names nobody."""

    async def test() -> None:
        async with cluster_of(files, 12, 13) as cluster:
            await cluster.same(12, 13)
            for revision in range(2, 12):
                cluster.put(revision, Group(name=f"g{revision}", id=revision))
            assert await asyncio.to_thread(cluster.leader.written(11).result, 20) == []
            await cluster.same(12, 13)
            assert all(cluster.members[node].follower.caught_up for node in (12, 13))
            assert cluster.members[12].follower.master.node == 11
            assert cluster.leader.booted() == {12: 123.0, 13: 123.0}

    run(test())


def test_a_node_that_comes_later_catches_up(files: Files) -> None:
    """In batches, from the journal, then with everybody else."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            for number in range(3_000):
                cluster.store.append(Kind.RUNTIME, f"k{number}", number)
            cluster.store.flush()
            await cluster.same(12)
            await cluster.down(12)
            cluster.put(2, Group(name="while-away", id=1))
            await cluster.up(12)
            await cluster.up(13)
            await cluster.same(12, 13)
            assert cluster.members[13].store.runtime()["k2999"] == 2_999

    run(test())


def test_large_records_are_sent_in_frames_that_fit(files: Files) -> None:
    """Many large calls at once do not stop the distribution, neither as records nor in a snapshot."""

    async def test() -> None:
        async with cluster_of(files) as cluster:
            for number in range(24):
                cluster.store.append(Kind.RUNTIME, f"k{number}", "x" * 4_000_000)
            cluster.store.flush()
            await cluster.up(12)
            await cluster.same(12)

    run(test())


def test_a_node_far_behind_gets_a_snapshot(files: Files) -> None:
    """What was pruned at the master is missing there too, all else is equal."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            await cluster.same(12)
            await cluster.down(12)
            for number in range(1_500):
                body = ReadJob("db_list", "u", 1, {}, {}, 1.0, 1, 0, "", None)
                cluster.store.append(Kind.READ, f"11.{number}", body, 1.0)
            cluster.put(2, Group(name="late", id=1))
            cluster.store.prune(Retention(read_count=10))
            await cluster.up(12)
            await cluster.same(12)
            assert len(cluster.members[12].store.jobs(JobQuery(limit=10_000))) == len(
                cluster.store.jobs(JobQuery(limit=10_000))
            )
            assert cluster.members[12].store.pruned() == cluster.store.pruned() > 0
            cluster.put(3, Group(name="later", id=2))
            await cluster.same(12)

    run(test())


def test_records_pruned_under_way_lead_to_a_snapshot(files: Files) -> None:
    """A node never gets a journal with a hole."""

    async def test() -> None:
        async with cluster_of(files) as cluster:
            for number in range(50):
                body = ReadJob("db_list", "u", 1, {}, {}, 1.0, 1, 0, "", None)
                cluster.store.append(Kind.READ, f"11.{number}", body, 1.0)
            cluster.store.flush()
            cluster.leader._tail.clear()
            cluster.store.prune(Retention(read_count=1))
            with pytest.raises(Conflict, match="pruned"):
                cluster.leader._tail.after(5)
            await cluster.up(12)
            await cluster.same(12)

    run(test())


def test_an_older_master_is_refused(files: Files) -> None:
    """A node follows the highest term it heard of, whatever an earlier master sends."""

    async def test() -> None:
        async with cluster_of(files, 12, lead=False) as cluster:
            await cluster.lead(term=5)
            await cluster.same(12)
            head, follower = cluster.members[12].store.head(), cluster.members[12].follower
            for method in ("hello", "append", "beat", "run", "restore"):
                body = {"term": 4, "master": 13, "records": [(4, head.n + 1, "runtime", "k", 1.0, b"1")]}
                body |= {
                    "first": True,
                    "last": True,
                    "chunk": b"",
                    "job": "1",
                    "number": 1,
                    "name": "x",
                    "arguments": {},
                }
                with pytest.raises(Conflict, match="term 5"):
                    await follower.methods[method](body)
            with pytest.raises(Conflict, match="n11 as master with term 5"):
                await follower.methods["hello"]({"term": 5, "master": 13})
            assert cluster.members[12].store.head() == head
            assert follower.master.node == 11

    run(test())


def test_other_software_and_other_nodes_are_not_greeted(files: Files) -> None:
    """A node follows no master of another version, and none that takes it for another node; both say what to do."""

    async def test() -> None:
        async with cluster_of(files, 12, lead=False) as cluster:
            hello = cluster.members[12].follower.methods["hello"]
            greeting = {"term": 5, "master": 11, "version": __version__, "to": 12}
            assert (await hello(greeting))["n"] == 0
            with pytest.raises(WrongState, match=r"master n11 0\.0\.9; install the same version on all nodes"):
                await hello(greeting | {"version": "0.0.9"})
            del greeting["version"]
            with pytest.raises(WrongState, match="an older version"):
                await hello(greeting)
            with pytest.raises(WrongState, match="n12 answers at the address of n14"):
                await hello(greeting | {"version": __version__, "to": 14})

    run(test())


def test_the_master_knows_why_a_node_is_not_heard(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other software, nobody there, a wrong clock: said as long as it is so, and not after."""
    off = [0.0]

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() + off[0]

    monkeypatch.setattr("confd.cluster.following.follower.time", Clock)

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:

            def trouble() -> str:
                return str(cluster.leader.status(12, TROUBLE))

            await cluster.same(12)
            await until(lambda: cluster.leader.states()[12] is NodeState.ONLINE)
            assert trouble() == ""
            off[0] = -4_000.0
            await until(
                lambda: re.search(r"clock of n12 is (3999|4000) s behind the master's; set it right", trouble())
            )
            off[0] = 0.0
            await until(lambda: trouble() == "")
            await cluster.down(12)
            await until(lambda: "no node answers at" in trouble())
            assert cluster.leader.states()[12] is NodeState.OFFLINE
            monkeypatch.setattr("confd.cluster.following.follower.__version__", "0.0.9")
            await cluster.up(12)
            await until(lambda: "n12 runs OpenConfD 0.0.9, the master n11" in trouble())
            with pytest.raises(
                NoQuorum, match=r"bring n13 back.*n12 lives and must not.*OpenConfD 0\.0\.9, the master n11"
            ):
                cluster.leader.check_quorum()
            assert cluster.leader.following() == {11}
            monkeypatch.undo()
            await until(lambda: trouble() == "")
            assert cluster.leader.status(14, TROUBLE) is None

    run(test())


def test_a_node_that_is_ahead_is_not_overwritten(files: Files) -> None:
    """Its journal holds what this master, under the same term, has lost."""

    async def test() -> None:
        async with cluster_of(files, 12, lead=False) as cluster:
            store = cluster.members[12].store
            store.lead(2, 11)
            for number in range(20):
                store.append(Kind.RUNTIME, f"k{number}", number)
            store.flush()
            store.resign()
            before = records(store)
            await cluster.lead(term=2)
            await cluster.up(13)
            await cluster.same(13)
            assert records(store) == before
            assert cluster.leader.states()[12] is NodeState.OFFLINE
            assert not cluster.members[12].follower.caught_up

    run(test())


@pytest.mark.parametrize("pruned", [False, True])
def test_what_only_a_deposed_node_knows_is_kept_in_a_file(files: Files, *, pruned: bool) -> None:
    """A node with records of an earlier term that nobody else got keeps them aside and follows the newer master.

    Also when the master has forgotten what was recorded there instead.
    """

    async def test() -> None:
        async with cluster_of(files, 12, lead=False) as cluster:
            store = cluster.members[12].store
            store.lead(1, 12)
            for number in range(3):
                store.append(Kind.RUNTIME, f"k{number}", "only here").result()
            store.resign()
            before = records(store)
            await cluster.down(12)
            await cluster.lead(term=2)
            for number in range(20):
                body = ReadJob("db_list", "u", 1, {}, {}, 1.0, 1, 0, "", None)
                cluster.store.append(Kind.READ, f"11.{number}", body, 1.0)
            cluster.store.append(Kind.RUNTIME, "k", 1).result()
            if pruned:
                assert cluster.store.prune(Retention(read_count=0)) == 20
            await cluster.up(12)
            await cluster.up(13)
            await cluster.same(12, 13)
            (kept,) = cluster.members[12].files.root.glob("metadata/confd/journal-1-4.db")
            aside = SqliteStore(kept)
            assert records(aside) == before
            aside.close()

    run(test())


def test_an_idle_node_is_asked_on_and_on(files: Files) -> None:
    """Heartbeats do not stop where timers go off before their time, as those of the daemon's loop do by a little."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        in_time = loop.call_later
        loop.call_later = lambda delay, *called, **context: in_time(delay * 0.9, *called, **context)
        async with cluster_of(files, 12) as cluster:
            await cluster.same(12)
            member = cluster.leader._members[12]
            for _ in range(20):
                heard = member.heard
                await until(lambda heard=heard: member.heard > heard)

    run(test())


def test_a_silent_node_is_offline_and_comes_back(files: Files) -> None:
    """States follow; without more than half of the nodes no changes are accepted."""

    async def test() -> None:
        async with cluster_of(files, 12, 13) as cluster:
            changes: list[dict[int, NodeState]] = []
            cluster.leader.watch(lambda: changes.append(cluster.leader.states()))
            for node in (12, 13):
                await cluster.state(node, NodeState.ONLINE)
            cluster.leader.check_quorum()
            await cluster.down(12)
            await cluster.state(12, NodeState.OFFLINE)
            assert cluster.leader.status(12, "any") is None
            cluster.leader.check_quorum()
            await cluster.down(13)
            await cluster.state(13, NodeState.OFFLINE)
            with pytest.raises(NoQuorum, match="n12, n13"):
                cluster.leader.check_quorum()
            await cluster.up(12)
            await cluster.state(12, NodeState.ONLINE)
            cluster.leader.check_quorum()
            await until(lambda: changes and changes[-1][12] is NodeState.ONLINE)
            assert any(change[12] is NodeState.OFFLINE for change in changes)

    run(test())


def test_a_node_that_cannot_write_is_named_and_stays_behind(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands to it are refused until it has caught up."""

    async def test() -> None:
        async with cluster_of(files, 12, 13) as cluster:
            await cluster.same(12, 13)
            member = cluster.members[12]
            monkeypatch.setattr(member.replica, "_write", lambda conf: time.sleep(0.01))
            cluster.put(2, Group(name="g", id=1))
            assert await asyncio.to_thread(cluster.leader.written(2).result, 20) == [12]
            reply = await asyncio.wrap_future(cluster.leader.send(("11.1", 1), note.on(12, "x")))
            assert (reply.code, "catching up" in reply.message) == (NodeOffline.code, True)
            cluster.put(3, Group(name="h", id=2))
            assert await asyncio.to_thread(cluster.leader.written(3).result, 20) == []
            monkeypatch.undo()
            with member.replica._changed:
                member.replica._changed.notify()
            await cluster.same(12)
            await until(lambda: not cluster.leader._members[12].behind)
            reply = await asyncio.wrap_future(cluster.leader.send(("11.1", 1), note.on(12, "x")))
            assert reply.result == "x on n12"

    run(test())


def test_commands_run_on_their_node(files: Files) -> None:
    """Results, errors and output travel; a repeat with the same key is answered from the record."""

    async def test() -> None:
        async with cluster_of(files, 12, 13) as cluster:
            await cluster.state(12, NodeState.ONLINE)
            await cluster.state(13, NodeState.ONLINE)
            send = cluster.leader.send
            replies = [
                await asyncio.wrap_future(send(("11.1", number), note.on(node, "a")))
                for number, node in ((1, 12), (2, 13), (1, 12))
            ]
            assert [reply.result for reply in replies] == ["a on n12", "a on n13", "a on n12"]
            assert RUNS == [(12, "a"), (13, "a")]
            bad = await asyncio.wrap_future(send(("11.1", 3), note.on(12, "bad")))
            assert (bad.code, bad.message) == (StorageWrite.code, "no")
            nobody = await asyncio.wrap_future(send(("11.1", 4), note.on(99, "a")))
            assert nobody.code == NodeOffline.code

    run(test())


def test_a_command_is_joined_after_the_connection_broke(files: Files) -> None:
    """It runs once, and its result arrives."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            await cluster.state(12, NodeState.ONLINE)
            sent = cluster.leader.send(("11.1", 1), note.on(12, "a", wait=True))
            await until(lambda: RUNS)
            link = await cluster.connector.link(f"{cluster.net}.12", cluster.port)
            await link.close()
            GATE.set()
            reply = await asyncio.wait_for(asyncio.wrap_future(sent), 20)
            assert reply.result == "a on n12"
            assert RUNS == [(12, "a")]

    run(test())


def test_a_command_on_a_node_that_dies_ends(files: Files) -> None:
    """NODE_OFFLINE once its heartbeats are missing; nobody waits for ever."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            await cluster.state(12, NodeState.ONLINE)
            sent = cluster.leader.send(("11.1", 1), note.on(12, "a", wait=True))
            await until(lambda: RUNS)
            await cluster.members[12].port.close()
            reply = await asyncio.wait_for(asyncio.wrap_future(sent), 20)
            assert reply.code == NodeOffline.code

    run(test())


def test_whoever_waits_is_told_when_the_master_goes(files: Files) -> None:
    """A wait for a revision ends with the mastership."""

    async def test() -> None:
        async with cluster_of(files, 12) as cluster:
            await cluster.same(12)
            waiting = cluster.leader.written(99)
            await cluster.leader.close()
            after = cluster.leader.written(99)
            for one in (waiting, after):
                with pytest.raises(NoMaster):
                    await asyncio.to_thread(one.result, 20)

    run(test())


def test_a_watcher_that_fails_keeps_nobody_from_following(files: Files) -> None:
    """Nodes are informed whatever a service makes of it."""

    async def test() -> None:
        async with cluster_of(files) as cluster:

            def fail() -> None:
                raise ZeroDivisionError("oops")

            cluster.leader.watch(fail)
            await cluster.up(12)
            await cluster.same(12)
            await cluster.state(12, NodeState.ONLINE)
            await cluster.down(12)
            await cluster.state(12, NodeState.OFFLINE)

    run(test())
